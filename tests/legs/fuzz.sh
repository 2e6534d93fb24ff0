#!/usr/bin/env bash
# Leg: builds the libFuzzer programs with clang and both memory sanitizers, replays their seeds and mutates them for a while.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need clang++-14=clang-14 '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a=libclang-rt-14-dev' ||
    not_run "clang-14 or its run-time library is missing"
runs=10000 seconds=5
[[ $FATTN_TEST_MODE == full ]] && runs=2000000 seconds=300
native_build fuzz -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O0 -g1" \
    -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DFATTN_BUILD_FUZZERS=ON \
    "-DFATTN_CPU_TARGETS=scalar" -DFATTN_CUDA_KERNELS=OFF -DFATTN_SANITIZE=fuzzer-no-link,address,undefined
fuzz() {
    local name=$1 program=.build/native/fuzz/fuzz/fattn_fuzz_$1 seeds=tests/fuzz/seeds/$1
    mkdir -p "$work/$name"
    check "$name replays its seeds" "$program" -runs=0 "$seeds"
    check "$name mutates them" "$program" -seed=1 -runs="$runs" -max_total_time="$seconds" \
        -artifact_prefix="$work/" "$work/$name" "$seeds"
}

# A program uses one processor, so there are as many at a time as processors.
for source in tests/fuzz/*_fuzz.cpp; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n; done
    fuzz "$(basename "$source" _fuzz.cpp)" &
done
wait
awk '$2 > 0 { failed = 1 } END { exit failed }' "$LEG_COUNTS" || leg_failed=1
finish
