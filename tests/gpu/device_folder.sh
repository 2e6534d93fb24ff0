#!/usr/bin/env bash
# device_folder.sh TOOLKIT FOLDER [ARCHITECTURE...]: makes a folder to carry to a machine with a GPU, for check.sh there: the program
# dense_on_device, the compiled keys (sm_80 and sm_90 unless told otherwise; those of .build/native/release where `./build.sh test` made them),
# and from there the library, its CUDA tests and the recorder of the virtual GPU; and the managed suite with a .NET runtime. All of it is one
# archive, carried.tar.xz, in which what several files hold (kernel images) is there once; it may have 60 MiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
home=${1:?usage: $0 TOOLKIT FOLDER [ARCHITECTURE...]}
folder=${2:?usage: $0 TOOLKIT FOLDER [ARCHITECTURE...]}
shift 2
(($#)) || set -- 80 90
most_bytes=$((60 << 20))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
carried=$work/carried
mkdir -p "$carried/cubin" "$folder"
built=.build/native/release
for source in native/cuda/device/*.cu; do
    unit=$(basename "$source" .cu)
    for arch in "$@"; do
        cubin=$carried/cubin/$unit.sm_$arch.cubin
        # What the build compiled is what the library carries; its name says sm_90a for 90.
        compiled=$(compgen -G "$built/cuda/$unit.sm_$arch*.cubin" | head -n 1 || true)
        if [[ -n $compiled && $compiled -nt $source ]]; then
            cp "$compiled" "$cubin"
        else
            "$home/bin/nvcc" -std=c++20 -Werror all-warnings -I native -gencode "arch=compute_$arch,code=sm_$arch" -cubin -o "$cubin" "$source"
        fi
    done
done
# Linked with what other machines may lack: the C++ library and GoogleTest's.
objects=()
for source in native/reference/{dense,head,numeric,philox}.cpp native/cuda/host/dense_{backward,forward,keys}.cpp tests/gpu/*.cpp \
    tests/native/support/{compare,dense_case,dense_truth,plain_search,random_dense,tensor,tolerances}.cpp; do
    object=$work/$(basename "$source" .cpp)_${#objects[@]}.o
    ${CMAKE_CXX_COMPILER_LAUNCHER:-} g++ -std=c++20 -O2 -Wall -Wextra -Werror -I native/include -I native -I tests/native -I tests/gpu \
        -c "$source" -o "$object"
    objects+=("$object")
done
g++ -static-libstdc++ -static-libgcc -s -o "$carried/dense_on_device" "${objects[@]}" -l:libgtest.a -lpthread -ldl
for file in "$built/libfused_attention.so" "$built/tests/fattn_test_cuda" "$built/virtual_gpu/fattn_virtual_gpu_record"; do
    if [[ -f $file ]]; then strip -o "$carried/${file##*/}" "$file"; else echo "left out, not built: $file"; fi
done
if command -v dotnet > /dev/null; then
    dotnet publish tests/FusedAttention.Tests -c Release --use-current-runtime --self-contained -p:SatelliteResourceLanguages=en -v quiet -o "$carried/managed"
    rm -f "$carried/managed"/*.pdb "$carried/managed"/*.xml
    [[ ! -f $carried/libfused_attention.so ]] || ln -f "$carried/libfused_attention.so" "$carried/managed/libfused_attention.so"
else
    echo "left out, there is no .NET SDK: the managed suite"
fi
# With a dictionary that reaches from one copy of the images to the next.
tar c -C "$carried" . | xz -T1 --lzma2=preset=6,dict=256MiB > "$folder/carried.tar.xz"
bytes=$(stat -c %s "$folder/carried.tar.xz")
echo "$folder/carried.tar.xz has $((bytes >> 20)) MiB"
((bytes <= most_bytes)) || { echo "it may have $((most_bytes >> 20))"; exit 1; }
