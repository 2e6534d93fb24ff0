#!/usr/bin/env bash
# header_parts.sh FOLDER: every file of the public header compiles alone, as C11 and as C++20, and is reached from
# fused_attention.h. Called by the checks leg.
set -euo pipefail
folder=${1:?usage: $0 FOLDER}
include=$(dirname "$folder")
bad=0
complain() { echo "$*"; bad=1; }

for part in "$folder"/*.h; do
    name=$(basename "$part")
    for language in "c -std=c11" "c++ -std=c++20"; do
        read -r -a options <<< "$language"
        clang-14 -x "${options[@]}" -Wall -Wextra -pedantic -Werror -fsyntax-only -I "$include" "$part" ||
            complain "$name does not compile alone as ${options[1]#-std=}"
    done
    [[ $name == fused_attention.h ]] || grep -qF "#include \"fused_attention/$name\"" "$folder/fused_attention.h" ||
        complain "$name is not included by fused_attention.h"
done
exit "$bad"
