#!/usr/bin/env bash
# Leg: the native tests cross-compiled for 64-bit Arm and run under qemu, in full with the scalar target too. `neon.sh build` ends
# when they are compiled, which .ci/run does while it waits for the network.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need aarch64-linux-gnu-g++=g++-aarch64-linux-gnu qemu-aarch64=qemu-user /usr/src/googletest/CMakeLists.txt=googletest ||
    not_run "the cross compiler or qemu-user is missing"
reduce_samples
# Planners, checks and the reference do the same on every processor.
rooms="cpu;conformance;include" cuda=OFF
[[ $FATTN_TEST_MODE == reduced ]] || rooms=all cuda=ON
native_build neon -DCMAKE_BUILD_TYPE=Release -DFATTN_BUILD_TESTS=ON "-DFATTN_TEST_ROOMS=$rooms" -DFATTN_CUDA=$cuda -DFATTN_CUDA_KERNELS=OFF \
    -DCMAKE_TOOLCHAIN_FILE="$root/cmake/aarch64-linux-gnu.cmake"
[[ ${1:-} != build ]] || finish

# Left out: a fork that qemu cannot follow, results that are wrong on purpose, and what does not depend on instructions and is
# slow here: threads, lists of rows and slots, and laws that relate runs which the other tests compare with the reference.
export GTEST_FILTER='-Parallel.AChildOfFork*:*/Wrong*:Wrong*'
if [[ $FATTN_TEST_MODE == reduced ]]; then
    GTEST_FILTER+=':*DoNotDependOnThreads*:*Gatherer*:*Laws*:BlockMasks*:*MobaIs*:*EveryPairOfHeadMaps*:*OffsetsBeyond*'
    # The loops over tiles and over lists, which conformance compares in whole runs.
    GTEST_FILTER+=':DenseBackward.*:GatheredForward.*:GatheredBackward.*:PermutedBlockSelect.GivesTheSameBits*:*MeasuredPeaks*'
    export FATTN_TEST_TARGETS=best
fi
export FATTN_EXPECT_CPU_TARGET=neon
gtest_all .build/native/neon/tests qemu-aarch64 -L /usr/aarch64-linux-gnu
finish
