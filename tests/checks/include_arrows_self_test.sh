#!/usr/bin/env bash
# Proves that include_arrows.sh sees a violation of each kind: plants one at a time in an empty tree. Called by the checks leg.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# expect <accepted|rejected> <file> <line>
expect() {
    local verdict=accepted
    rm -rf "${tree:?}"/*
    mkdir -p "$tree/$(dirname "$2")" "$tree/native" "$tree/src"
    echo "$3" > "$tree/$2"
    bash "$here/include_arrows.sh" "$tree" > /dev/null || verdict=rejected
    [[ $verdict == "$1" ]] || { echo "$2 with the line '$3' was $verdict, expected $1"; exit 1; }
}

expect accepted native/api/dense.cpp '#include "cpu/backend.h"'
expect accepted native/cpu/simd/vec_avx2.h '#include <immintrin.h>'
expect accepted native/cpu/generic/forward.h '#include "core/softmax_state.h"'
expect accepted native/api/dense.cpp '#include "fused_attention/fused_attention.h"'
expect accepted native/include/fused_attention/dense.h '#include "fused_attention/types.h"'
expect accepted native/cuda/host/dense.cpp '#include "cuda/runtime/driver.h"'
expect accepted native/cuda/runtime/error.h '#include "backend/status.h"'
expect rejected native/cpu/dispatch.cpp '#include "plan/dense.h"'
expect rejected native/plan/dense.cpp '#include "cpu/dispatch.h"'
expect rejected native/cpu/parallel.cpp '#include "fused_attention/fused_attention.h"'
expect rejected native/core/numeric.h '#include <cmath>'
expect rejected native/cpu/generic/forward.h '#include <vector>'
expect rejected native/cuda/runtime/driver.cpp '#include "core/types.h"'
expect rejected native/cuda/runtime/module.cpp '#include "cuda/host/dense.h"'
expect rejected native/backend/backend.h '#include "cuda/host/dense.h"'
expect rejected native/somewhere/new.cpp '#include "core/types.h"'
expect rejected native/include/fused_attention/fused_attention.h '#include <stdbool.h>'
expect rejected native/include/fused_attention/dense.h '#include "core/types.h"'
expect rejected src/FusedAttention/Plan.cs '[LibraryImport("fused_attention")]'
