#!/usr/bin/env bash
# device_folder.sh TOOLKIT FOLDER [ARCHITECTURE...]: makes a folder to carry to a machine with a GPU: the program
# dense_on_device, the compiled keys (sm_80 and sm_90 unless told otherwise), and run.sh. The other machine needs a driver only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
home=${1:?usage: $0 TOOLKIT FOLDER [ARCHITECTURE...]}
folder=${2:?usage: $0 TOOLKIT FOLDER [ARCHITECTURE...]}
shift 2
(($#)) || set -- 80 90
mkdir -p "$folder/cubin"
for source in native/cuda/device/*.cu; do
    unit=$(basename "$source" .cu)
    for arch in "$@"; do
        "$home/bin/nvcc" -std=c++20 -Werror all-warnings -I native -gencode "arch=compute_$arch,code=sm_$arch" -cubin \
            -o "$folder/cubin/$unit.sm_$arch.cubin" "$source"
    done
done
# Linked with what other machines may lack: the C++ library and GoogleTest's.
objects=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for source in native/reference/{dense,head,numeric,philox}.cpp native/cuda/host/dense_{backward,forward,keys}.cpp tests/gpu/*.cpp \
    tests/native/support/{compare,dense_case,dense_truth,plain_search,random_dense,tensor,tolerances}.cpp; do
    object=$work/$(basename "$source" .cpp)_${#objects[@]}.o
    ${CMAKE_CXX_COMPILER_LAUNCHER:-} g++ -std=c++20 -O2 -Wall -Wextra -Werror -I native/include -I native -I tests/native -I tests/gpu \
        -c "$source" -o "$object"
    objects+=("$object")
done
g++ -static-libstdc++ -static-libgcc -s -o "$folder/dense_on_device" "${objects[@]}" -l:libgtest.a -lpthread -ldl
cp tests/gpu/run_dense.sh "$folder/run.sh"
