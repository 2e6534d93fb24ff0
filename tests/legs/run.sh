#!/usr/bin/env bash
# Runs the test legs and sums their counts. Called by `build.sh test` after everything is built.
#   --quick   the native and managed suites only        --full   every random problem; programs that run slowly take the sample
# The last line is "N passed, M failed"; the exit status is 1 when M > 0 or, under --strict, when a leg could not run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Rows of legs run side by side: all that calls dotnet is in one, which uses less than a processor, waits often and is the
# longest; the others, which use what there is, stand back for it.
rows=("native sanitizers" "managed package checks golden aot" "fuzz cuda_core cuda_kernels virtual_gpu older_cpu neon")
niceness=(5 0 5)
strict=0
export FATTN_TEST_MODE=sampled
for option in "$@"; do
    case $option in
        --quick) rows=(native "managed checks") ;;
        --full) FATTN_TEST_MODE=full ;;
        --strict) strict=1 ;;
        --leg=*) rows=("${option#--leg=}") ;;
        *) echo "unknown option $option; test takes --quick, --full, --strict, --leg=NAME" >&2; exit 2 ;;
    esac
done

mkdir -p .build/test

# run_legs <niceness> <leg>...: one after the other; each leaves <leg>.counts and <leg>.end: exit status, seconds, processor
# seconds.
run_legs() {
    local leg started status user system
    local TIMEFORMAT='%0U %0S'
    for leg in "${@:2}"; do
        echo "=== $leg"
        export LEG_COUNTS=$PWD/.build/test/$leg.counts
        : > "$LEG_COUNTS"
        started=$SECONDS
        { time nice -n "$1" bash "tests/legs/$leg.sh" 2>&3; } 3>&2 2> ".build/test/$leg.time" && status=0 || status=$?
        read -r user system < ".build/test/$leg.time"
        echo "$status $((SECONDS - started)) $((user + system))" > ".build/test/$leg.end"
    done
}

# The first row is seen at once, the others when all have ended. Each is a process of its own: times are those of its children.
# shellcheck disable=SC2086 # names of legs
for ((row = 1; row < ${#rows[@]}; ++row)); do
    run_legs "${niceness[row]}" ${rows[row]} > ".build/test/row_$row.log" 2>&1 &
done
# shellcheck disable=SC2086
(run_legs "${niceness[0]}" ${rows[0]})
wait
for ((row = 1; row < ${#rows[@]}; ++row)); do cat ".build/test/row_$row.log"; done

total_passed=0 total_failed=0 total_skipped=0 left_out=()
table=""
for leg in ${rows[*]}; do
    read -r status seconds processor < ".build/test/$leg.end"
    read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' ".build/test/$leg.counts")
    if ((status == 77)); then
        left_out+=("$leg")
    elif ((status != 0 && failed == 0)); then
        echo "the leg $leg ended with status $status"
        failed=1
    fi
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    table+=$(printf '%-12s %6d %6d %7d %6ds %8ds' "$leg" "$passed" "$failed" "$skipped" "$seconds" "$processor")$'\n'
done

echo "=== summary"
printf '%-12s %6s %6s %7s %7s %9s\n%s' leg passed failed skipped time processor "$table"
echo "random problems began at FATTN_TEST_SEED=${FATTN_TEST_SEED:-1}"
((${#left_out[@]})) && echo "not run: ${left_out[*]}"
echo "$total_passed passed, $total_failed failed"
((total_failed == 0)) && { ((!strict)) || ((${#left_out[@]} == 0)); }
