#!/usr/bin/env bash
# Leg: the libFuzzer programs, with both memory sanitizers, replay their seeds on the best CPU target that the sanitized
# library has and mutate them for a while on the scalar one. build.sh has just made them.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need "${fuzz_tools[@]}" || not_run "clang-14 or its run-time library is missing"
runs=10000 seconds=5
[[ $FATTN_TEST_MODE == full ]] && runs=2000000 seconds=300
fuzz() {
    local name=$1 program=.build/native/release/fuzz/fattn_fuzz_$1 seeds=tests/fuzz/seeds/$1
    mkdir -p "$work/$name"
    check "$name replays its seeds" "$program" -runs=0 "$seeds"
    check "$name mutates them" env FATTN_CPU_TARGET=scalar "$program" -seed=1 -runs="$runs" -max_total_time="$seconds" \
        -artifact_prefix="$work/" "$work/$name" "$seeds"
}

# A program uses one processor, so there are as many at a time as processors.
for source in tests/fuzz/*_fuzz.cpp; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n; done
    fuzz "$(basename "$source" _fuzz.cpp)" &
done
wait
finish
