#!/usr/bin/env bash
# format.sh: every tracked C and C++ file is as clang-format leaves it. Called by the checks leg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bad=()
while IFS= read -r file; do
    clang-format-14 --dry-run --Werror "$file" 2> /dev/null || bad+=("$file")
done < <(git ls-files '*.cpp' '*.h' '*.c' '*.cu' '*.cuh')
((${#bad[@]} == 0)) && exit 0
echo "not formatted: ${bad[*]}"
echo "to mend: clang-format-14 -i ${bad[*]}"
exit 1
