#!/usr/bin/env bash
# Leg: the golden cases through the command line tool, in each storage type. Needs Debian's python3 with numpy.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need /usr/bin/python3=python3 '/usr/lib/python3/dist-packages/numpy=python3-numpy' || not_run "python3-numpy is missing"
tool=$root/.build/dotnet/bin/FusedAttention.Cli/release/fattn
for dtype in f32 f16 bf16; do
    log=$work/$dtype.log
    /usr/bin/python3 tests/golden/check.py --tool "$tool" --dtype "$dtype" > "$log" 2>&1 || leg_failed=1
    cat "$log"
    read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1 | grep . || echo 0 1)
    count "$passed" "$failed"
done
finish
