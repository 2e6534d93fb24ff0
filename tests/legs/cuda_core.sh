#!/usr/bin/env bash
# Leg: core/ is device code too, like cuda/device. Every header alone and the device test sources compile with nvcc, and with NVRTC where no
# include path exists; so do the modules of kernels with NVRTC, those that compile in seconds and in full all of them, which takes minutes.
# Needs a CUDA toolkit (./build.sh cuda-toolkit), no GPU.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
home=$(bash cmake/cuda_toolkit.sh --find .build/cuda-toolkit 2>&1) || not_run "$home; run ./build.sh cuda-toolkit"
nvrtc=$(compgen -G "$home/lib64/libnvrtc.so.1[0-9]" | head -n 1)
[[ -n $nvrtc ]] || not_run "no libnvrtc in $home/lib64"
export LD_LIBRARY_PATH=$home/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

check "build the NVRTC driver" g++ -std=c++20 -O1 -Wall -Wextra -Werror tests/native/device/nvrtc_compile.cpp -ldl \
    -o "$work/nvrtc_compile" || finish

mapfile -t headers < <(cd native && ls core/*.h cuda/device/*.h cuda/device/prim/*.h)
printf '#include "%s"\n' "${headers[@]}" > "$work/every_header.cu"
echo 'extern "C" __global__ void nothing() {}' >> "$work/every_header.cu"

for source in "$work/every_header.cu" tests/native/device/*.cu; do
    name=$(basename "$source" .cu)
    check "nvcc sm_80 and sm_90a $name" "$home/bin/nvcc" -std=c++20 -Werror all-warnings -I native -c "$source" -o "$work/$name.o" \
        -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a
    check "NVRTC sm_80 $name" "$work/nvrtc_compile" "$nvrtc" sm_80 "$source" native "${headers[@]}"
    check "NVRTC sm_90a $name" "$work/nvrtc_compile" "$nvrtc" sm_90a "$source" native "${headers[@]}"
done

modules=(block_select dense_backward_rows dense_forward_splits lightning_rows peaks)
if [[ $FATTN_TEST_MODE == full ]]; then
    mapfile -t modules < <(cd native/cuda/device && ls ./*.cu | sed 's|^\./||; s|\.cu$||')
fi
for module in "${modules[@]}"; do
    check "NVRTC sm_80 of the kernels in $module" "$work/nvrtc_compile" "$nvrtc" sm_80 "native/cuda/device/$module.cu" native "${headers[@]}"
done
finish
