#!/usr/bin/env bash
# format.sh: every tracked C and C++ file is as clang-format leaves it. Called by the checks leg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Many files a process: starting one takes longer than reading a file.
if ! complaints=$(git ls-files -z '*.cpp' '*.h' '*.c' '*.cu' '*.cuh' |
    xargs -0 -n 40 -P "$(nproc)" clang-format-14 --dry-run --Werror 2>&1); then
    mapfile -t bad < <(sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: error:.*/\1/p' <<< "$complaints" | sort -u)
    ((${#bad[@]})) || { echo "$complaints"; exit 1; }
    echo "not formatted: ${bad[*]}"
    echo "to mend: clang-format-14 -i ${bad[*]}"
    exit 1
fi
