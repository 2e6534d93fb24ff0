#!/usr/bin/env bash
# Leg: the virtual GPU, of the release tree that build.sh has just made: the interpreter's instructions, checks and small programs, and
# the driver over it. Needs no CUDA toolkit and no GPU. What the library does on it is tested by fattn_test_cuda, in the leg native.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
gtest .build/native/release/virtual_gpu/fattn_test_virtual_gpu
gtest .build/native/release/virtual_gpu/fattn_test_virtual_driver
finish
