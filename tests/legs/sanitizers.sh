#!/usr/bin/env bash
# Leg: the native tests under AddressSanitizer with UndefinedBehaviorSanitizer, then under ThreadSanitizer, each with the
# scalar target and one vector target. Asserts are on.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
reduce_samples
case $(uname -m) in
    x86_64) targets='scalar;avx2' ;;
    *) targets='scalar;neon' ;;
esac
options=(-DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" "-DCMAKE_C_FLAGS_DEBUG=-O1 -g1" -DFATTN_BUILD_TESTS=ON
    -DFATTN_PRECOMPILE_HEADERS=ON "-DFATTN_CPU_TARGETS=$targets")

# ThreadSanitizer cannot place its shadow memory under much address randomisation; some kernels randomise that much.
fixed_addresses=(setarch "$(uname -m)" -R)
"${fixed_addresses[@]}" true 2> /dev/null || fixed_addresses=()

export UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:die_after_fork=0
native_build asan "${options[@]}" -DFATTN_SANITIZE=address,undefined
gtest_all .build/native/asan

# Only rooms where threads meet: planners, core and the reference have none.
native_build tsan "${options[@]}" -DFATTN_SANITIZE=thread "-DFATTN_TEST_ROOMS=api;cpu;include;conformance"
gtest_all .build/native/tsan "${fixed_addresses[@]}"
finish
