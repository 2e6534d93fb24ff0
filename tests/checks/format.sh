#!/usr/bin/env bash
# format.sh: every tracked C and C++ file is as clang-format leaves it. Called by the checks leg.
# To mend: git ls-files '*.cpp' '*.h' '*.c' '*.cu' | xargs clang-format-14 -i
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
git ls-files -z '*.cpp' '*.h' '*.c' '*.cu' '*.cuh' | xargs -0 -r clang-format-14 --dry-run --Werror
