#!/usr/bin/env bash
# include_arrows.sh [ROOT]: every include line of native/ must follow the arrows between rooms. Called by the checks leg.
# Prints each line that does not and exits 1; the table below is the whole rule.
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"

# room: the rooms whose headers its files may include
declare -A may_include=(
    [native/include]="include"
    [native/core]="core"
    [native/backend]="backend core"
    [native/plan]="plan core"
    [native/reference]="reference core"
    [native/cpu]="cpu backend core"
    [native/cuda/runtime]="cuda/runtime backend"
    [native/cuda/build]="cuda/runtime"
    [native/cuda/host]="cuda/host cuda/device cuda/runtime backend core"
    [native/cuda/device]="cuda/device core"
    [native/api]="api include plan backend cpu cuda/host core"
)
# Compiled for one instruction set, or also as device code: no standard library beyond these headers.
kernel_files='^native/(core/|cpu/simd/|cpu/generic/|cpu/target_|cuda/device/)'
kernel_headers='^(cstdint|cstddef|stdint\.h|stddef\.h|immintrin\.h|arm_neon\.h)$'
# core and device code are compiled at run time where no header exists at all.
bare_files='^native/(core/|cuda/device/)'

bad=0
complain() { echo "$1:$2: $3"; bad=1; }

while IFS=: read -r file line text; do
    room=${file%/*}
    while [[ $room == native/* && -z ${may_include[$room]:-} ]]; do room=${room%/*}; done
    [[ -n ${may_include[$room]:-} ]] || { complain "$file" "$line" "the file is in no room that tests/checks/include_arrows.sh knows"; continue; }

    if [[ $text =~ \"([^\"]+)\" ]]; then
        header=${BASH_REMATCH[1]}
        [[ $header == fused_attention/* ]] && target=include || target=${header%/*}
        while [[ $target == */* && ! -v "may_include[native/$target]" ]]; do target=${target%/*}; done
        [[ " ${may_include[$room]} " == *" $target "* ]] ||
            complain "$file" "$line" "$room includes \"$header\"; it may include: ${may_include[$room]}"
    elif [[ $text =~ \<([^\>]+)\> ]]; then
        header=${BASH_REMATCH[1]}
        if [[ $file =~ $bare_files ]]; then
            complain "$file" "$line" "includes <$header>; this room also compiles where no header exists"
        elif [[ $file =~ $kernel_files && ! $header =~ $kernel_headers ]]; then
            complain "$file" "$line" "includes <$header>; kernels may include only cstdint, cstddef and intrinsics"
        elif [[ $room == native/include && ! $header =~ ^std(int|def)\.h$ ]]; then
            complain "$file" "$line" "includes <$header>; the public header needs stdint.h and stddef.h alone"
        fi
    else
        complain "$file" "$line" "cannot read this include line: $text"
    fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include' native --include='*.h' --include='*.cpp' --include='*.c' --include='*.cu' --include='*.cuh' --include='*.inl' || true)

# The managed side has one arrow: only Interop/ talks to the native library.
while IFS=: read -r file line text; do
    [[ -n $file ]] && complain "$file" "$line" "an extern outside src/FusedAttention/Interop: $text"
done < <(grep -rnE '\[(LibraryImport|DllImport)\b' src --include='*.cs' 2> /dev/null |
    grep -vE '^src/(FusedAttention/Interop|BindingGenerator)/' || true)

exit "$bad"
