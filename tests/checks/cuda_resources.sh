#!/usr/bin/env bash
# cuda_resources.sh TOOLKIT OUT ARCHITECTURE [UNIT...]: compiles the units of native/cuda/device to OUT/<unit>.sm_<arch>.cubin
# and reads what the compiler made of every key. Called by hand and by tests/gpu/device_folder.sh; needs no GPU.
# Fails where a key spills or uses local memory beyond the bytes that are allowed to it below, lacks tensor-core
# instructions, or does not move 16 bytes at a time between global and shared memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
home=${1:?usage: $0 TOOLKIT OUT ARCHITECTURE [UNIT...]}
out=${2:?usage: $0 TOOLKIT OUT ARCHITECTURE [UNIT...]}
arch=${3:?usage: $0 TOOLKIT OUT ARCHITECTURE [UNIT...]}
shift 3
units=("$@")
((${#units[@]})) || mapfile -t units < <(cd native/cuda/device && ls ./*.cu | sed 's|^./||; s|\.cu$||')
mkdir -p "$out"

# key: bytes of stack that its tile costs, with the reason in native/notes/0035-cuda-forward.md
declare -A allowed_stack=([dense_forward_bf16_d128_lean]=16 [dense_forward_f16_d128_lean]=16 [dense_forward_f32_d64_general]=16
    [dense_forward_f32_d96_general]=24 [dense_forward_f32_d128_general]=24 [dense_forward_f32_d192_general]=16
    [dense_forward_f32_d256_general]=24)

bad=0
complain() { echo "$*"; bad=1; }
for unit in "${units[@]}"; do
    cubin=$out/$unit.sm_$arch.cubin
    report=$("$home/bin/nvcc" -std=c++20 -Werror all-warnings -I native -gencode "arch=compute_$arch,code=sm_$arch" -Xptxas -v \
        -cubin -o "$cubin" "native/cuda/device/$unit.cu" 2>&1) || { echo "$report"; complain "$unit does not compile"; continue; }
    sass=$("$home/bin/cuobjdump" --dump-sass "$cubin")
    while read -r key stack stores loads registers; do
        body=$(awk -v key="$key" '/Function :/ { inside = $3 == key } inside' <<< "$sass")
        mma=$(grep -c 'HMMA' <<< "$body" || true)
        local=$(grep -cE '\b(LDL|STL)\b' <<< "$body" || true)
        printf '%-36s sm_%s  %3d registers  %3d B stack  %3d/%-3d B spilled  %4d HMMA\n' \
            "$key" "$arch" "$registers" "$stack" "$stores" "$loads" "$mma"
        ((stack <= ${allowed_stack[$key]:-0})) || complain "$key uses $stack bytes of stack; allowed are ${allowed_stack[$key]:-0}"
        ((local == 0 || stack > 0)) || complain "$key has $local accesses of local memory"
        ((mma > 0)) || complain "$key has no tensor-core instruction"
        grep -q 'LDGSTS.E.BYPASS.128' <<< "$body" || complain "$key has no 16-byte copy to shared memory"
        grep -q 'STG.E.128' <<< "$body" || complain "$key has no 16-byte store"
    done < <(awk '/Function properties for/ { key = $NF }
        /bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
        /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); print key, stack, stores, loads, substr($0, RSTART + 5, RLENGTH - 5) }' <<< "$report")
done
exit "$bad"
