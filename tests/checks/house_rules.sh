#!/usr/bin/env bash
# house_rules.sh: the fixed top level, file lengths, one-sentence openings, and the places that alone may read the
# environment. Called by the checks leg; looks at what git tracks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bad=0
complain() { echo "$*"; bad=1; }

extra=$(git ls-files | cut -d/ -f1 | sort -u |
    grep -vxE 'native|src|tests|cmake|CMakeLists\.txt|build\.ps1|build\.sh|Interop\.sln|README\.md|LICENSE|global\.json|\..*' || true)
[[ -z $extra ]] || complain "the top level is fixed; these do not belong there: $extra"

# 600 lines is the limit; generated files are not read by people.
while read -r lines file; do
    complain "$file has $lines lines; 600 is the limit"
done < <(git ls-files -z '*.cpp' '*.h' '*.c' '*.cs' '*.cu' '*.cuh' '*.sh' '*.cmake' '*.py' |
    grep -zvE '\.Generated\.cs$' | xargs -0 -r wc -l |
    awk '$1 > 600 && $2 != "total"')

# The first line (after a #!) of a source file is a comment that says what the file is.
while IFS=$'\t' read -r file first; do
    [[ $first =~ ^[[:space:]]*(//|/\*|#|\"\"\"|\<!--) && ! $first =~ ^#(pragma|include|if|define) ]] ||
        complain "$file does not open with a sentence that says what it is: $first"
done < <(git ls-files -z '*.cpp' '*.h' '*.c' '*.cs' '*.cu' '*.cuh' '*.sh' '*.cmake' '*.py' | grep -zv '\.Generated\.cs$' |
    xargs -0 awk 'FNR == 1 && /^#!/ { next } FNR == 1 || (FNR == 2 && last != FILENAME) {
        sub(/^\xef\xbb\xbf/, ""); print FILENAME "\t" $0; last = FILENAME }')

while IFS= read -r hit; do
    complain "reads the environment outside dispatch and runtime: $hit"
done < <(git grep -nE '\b(secure_)?getenv\b' -- native | grep -vE '^native/(cpu/dispatch|cuda/runtime/)' || true)

while IFS= read -r hit; do
    complain "left unfinished, by its own words: $hit"
done < <(git grep -nIwE 'TO[D]O|FIX[M]E|X[X]X|NotImplemented[E]xception' -- '*.cs' '*.cpp' '*.h' '*.c' '*.cu' '*.cuh' '*.cmake' '*.py' || true)

exit "$bad"
