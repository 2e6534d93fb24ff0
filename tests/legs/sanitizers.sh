#!/usr/bin/env bash
# Leg: the native tests with the library's code under AddressSanitizer with UndefinedBehaviorSanitizer, then under
# ThreadSanitizer, each with the scalar target and one vector target. Asserts are on. The programs are those of the release
# tree, linked with sanitized object files (cmake/fattn_sanitized_variant.cmake); build.sh has just made them.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need "${fuzz_tools[@]}" || not_run "clang-14 or its run-time library is missing"
reduce_samples

# ThreadSanitizer cannot place its shadow memory under much address randomisation; some kernels randomise that much.
fixed_addresses=(setarch "$(uname -m)" -R)
"${fixed_addresses[@]}" true 2> /dev/null || fixed_addresses=()

# Without memory the library says so, as it does with the plain allocator.
export ASAN_OPTIONS=allocator_may_return_null=1:quarantine_size_mb=4:malloc_context_size=4 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=allocator_may_return_null=1:halt_on_error=1:die_after_fork=0
# Left out: results that are wrong on purpose, which comparers judge, and what threads change, which is the next variant's.
# And NVRTC's compilation of every kernel and what asks only for the numbers that kernels give on the virtual GPU: minutes of work that
# is not the library's. Its work around a run is that of the tests of workspaces, captured graphs, lengths, packed sequences and heads.
export GTEST_FILTER='-*/Wrong*:Wrong*:*DoNotDependOnThreads*:Nvrtc.DeviceSources*:*OnCuda.Random*:*OnCuda.Capped*:*OnCuda.LargeHeadDims*:*OnCuda.Infinit*'
GTEST_FILTER+=':*OnCuda.OwnSelections*:*OnCuda.KeyAndValueHeadsDiffer:*OnCuda.GroupedHeadsUnder*:*OnCuda.SharedBias*:*OnCuda.SigmoidWeights*:*OnCuda.RowsWithout*'
GTEST_FILTER+=':*OnCuda.ForwardIsNearTheReferenceOnAnotherModel:BlockMasks*:*MobaIs*:*EveryPairOfHeadMaps*:*MeasuredPeaks*:*KeepsItsBits*'
# What the virtual driver, which is not sanitized, keeps to the end looks like a leak.
options_of() { [[ $1 == *cuda ]] && echo "$ASAN_OPTIONS:detect_leaks=0" || echo "$ASAN_OPTIONS"; }
# Random problems and laws run on the vector target alone: the loops are the same text for every target, and the tests of
# the cpu room run both.
targets_of() { [[ $1 == *conformance ]] && echo best || echo all; }
run_asan() { gtest env ASAN_OPTIONS="$(options_of "$1")" FATTN_TEST_TARGETS="$(targets_of "$1")" "$1"; }
each_program .build/native/release/tests/asan run_asan

# Left out: what reads lists and values and lets no other threads meet than the random problems do. Threads meet in the same
# way on every target, so there is one.
export FATTN_TEST_TARGETS=best
GTEST_FILTER='-*/Wrong*:Wrong*:*Corners*:*Laws*:*Vec*:*Gatherer*'
# NVRTC has threads of its own that the sanitizer cannot follow, and forked processes neither.
GTEST_FILTER+=':Nvrtc*:KernelStore*:ProgramCache*:*OnCuda*'
GTEST_FILTER+=':*MatchesTheReference*:*NearTheReferenceOnEveryTarget*:RunsInGraphs*:*MobaIsOneSoftmax*:*NonFinite*:*KeepsItsBits*:BlockMasks*:*MeasuredPeaks*'
# Planners and packs of kernels have no threads.
GTEST_FILTER+=':Compression*:ImagePack*'
run_tsan() { [[ $1 == *plan ]] || gtest "${fixed_addresses[@]}" "$1"; }
each_program .build/native/release/tests/tsan run_tsan
finish
