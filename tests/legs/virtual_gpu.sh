#!/usr/bin/env bash
# Leg: the virtual GPU, of the release tree that build.sh has just made: the interpreter's instructions, checks and small programs, the
# driver over it, and random problems of every family on further models and orders of asynchronous work; in full every test of kernels on
# every model, in each order and with three seeds, but for those of a caller's program, which name sm_80. Needs no GPU, and for kernels
# a build with a CUDA toolkit. The leg native runs fattn_test_cuda on sm_80 with the first seed.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
gtest .build/native/release/virtual_gpu/fattn_test_virtual_gpu
gtest .build/native/release/virtual_gpu/fattn_test_virtual_driver

# on_model <model> <order> <seed> <filter>: tests of kernels where the first device is of that model.
on_model() {
    echo "on $1, asynchronous work $2, seed $3:"
    FATTN_VIRTUAL_GPU_MODELS=$1,sm_89,sm_90a FATTN_VIRTUAL_GPU_ORDER=$2 FATTN_VIRTUAL_GPU_SEED=$3 GTEST_FILTER=$4 \
        gtest .build/native/release/tests/fattn_test_cuda
}

if [[ $FATTN_TEST_MODE == full ]]; then
    for model in sm_80 sm_89 sm_90a; do
        for way in "early 1" "late 1" "seeded 1" "seeded 2" "seeded 3"; do
            # shellcheck disable=SC2086 # two words
            on_model "$model" $way '*OnCuda.*-ProgramOnCuda.*'
        done
    done
else
    on_model sm_89 early 1 '*OnCuda.Random*'
    on_model sm_90a late 2 '*OnCuda.Random*'
fi
finish
