#!/usr/bin/env bash
# Leg: what the CUDA compiler made of every kernel: no spills, no local memory, tensor-core instructions, registers and shared memory
# as the committed table has them. Needs a CUDA toolkit (./build.sh cuda-toolkit), no GPU.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
home=$(bash cmake/cuda_toolkit.sh --find .build/cuda-toolkit 2>&1) || not_run "$home; run ./build.sh cuda-toolkit"
check "a planted regression is seen" python3 tests/checks/cuda_resources_self_test.py
check "kernels use what the table allows" python3 tests/checks/cuda_resources.py .build/native/release/cuda \
    --cuobjdump "$home/bin/cuobjdump"
finish
