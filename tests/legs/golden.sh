#!/usr/bin/env bash
# Leg: the golden cases through the command line tool, in each storage type, and in bf16 on the virtual GPU (in full, which
# FATTN_TEST_MODE=full asks for, in each type there too). Needs Debian's python3 with numpy.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need /usr/bin/python3=python3 '/usr/lib/python3/dist-packages/numpy=python3-numpy' || not_run "python3-numpy is missing"
tool=$root/.build/dotnet/bin/FusedAttention.Cli/release/fattn
golden() { # LABEL OPTION...
    local log=$work/$1.log passed failed status
    /usr/bin/python3 tests/golden/check.py --tool "$tool" "${@:2}" > "$log" 2>&1
    status=$?
    cat "$log"
    read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1 | grep . || echo 0 1)
    ((status && !failed)) && failed=1
    count "$passed" "$failed"
}
for dtype in f32 f16 bf16; do
    golden "$dtype" --dtype "$dtype"
done
if virtual_gpu; then
    dtypes=(bf16)
    [[ $FATTN_TEST_MODE == full ]] && dtypes=(f32 f16 bf16)
    for dtype in "${dtypes[@]}"; do
        golden "cuda_$dtype" --device cuda --dtype "$dtype"
    done
fi
finish
