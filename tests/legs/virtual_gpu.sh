#!/usr/bin/env bash
# Leg: the virtual GPU, a PTX interpreter: its instructions, its checks, its small programs. Needs no CUDA toolkit and no GPU.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# Of the tree only the interpreter is built: the library is another target of the same configuration.
tree=.build/native/virtual_gpu
check "configure virtual_gpu" cmake -S . -B "$tree" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFATTN_BUILD_VIRTUAL_GPU=ON &&
    check "build virtual_gpu" cmake --build "$tree" --target fattn_test_virtual_gpu fattn_virtual_gpu_record fattn_virtual_gpu_info || finish
gtest "$tree/virtual_gpu/fattn_test_virtual_gpu"
finish
