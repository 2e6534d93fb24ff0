#!/usr/bin/env bash
# Runs the test legs in order and sums their counts. Called by `build.sh test` after everything is built.
#   --quick   the native and managed suites only        --full   every random problem; programs that run slowly take the sample
# The last line is "N passed, M failed"; the exit status is 1 when M > 0 or, under --strict, when a leg could not run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

quick_legs=(native managed checks)
later_legs=(golden sanitizers neon older_cpu aot package fuzz cuda_core virtual_gpu)
legs=("${quick_legs[@]}" "${later_legs[@]}")
strict=0
export FATTN_TEST_MODE=sampled
for option in "$@"; do
    case $option in
        --quick) legs=("${quick_legs[@]}") ;;
        --full) FATTN_TEST_MODE=full ;;
        --strict) strict=1 ;;
        --leg=*) legs=("${option#--leg=}") ;;
        *) echo "unknown option $option; test takes --quick, --full, --strict, --leg=NAME" >&2; exit 2 ;;
    esac
done

mkdir -p .build/test
total_passed=0 total_failed=0 total_skipped=0 left_out=()
table=""
for leg in "${legs[@]}"; do
    echo "=== $leg"
    export LEG_COUNTS=$PWD/.build/test/$leg.counts
    : > "$LEG_COUNTS"
    started=$SECONDS
    bash "tests/legs/$leg.sh"
    status=$?
    read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$LEG_COUNTS")
    if ((status == 77)); then
        left_out+=("$leg")
    elif ((status != 0 && failed == 0)); then
        echo "the leg $leg ended with status $status"
        failed=1
    fi
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    table+=$(printf '%-12s %6d %6d %7d %6ds' "$leg" "$passed" "$failed" "$skipped" $((SECONDS - started)))$'\n'
done

echo "=== summary"
printf '%-12s %6s %6s %7s %7s\n%s' leg passed failed skipped time "$table"
echo "random problems began at FATTN_TEST_SEED=${FATTN_TEST_SEED:-1}"
((${#left_out[@]})) && echo "not run: ${left_out[*]}"
echo "$total_passed passed, $total_failed failed"
((total_failed == 0)) && { ((!strict)) || ((${#left_out[@]} == 0)); }
