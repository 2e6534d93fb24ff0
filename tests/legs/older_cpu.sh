#!/usr/bin/env bash
# Leg: the shipped library on emulated older processors. Each must choose the target its instruction set allows, and
# compute with it without meeting an instruction it does not have.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[[ $(uname -m) == x86_64 ]] || not_run "the emulated processors are x86-64"
need qemu-x86_64=qemu-user || not_run "qemu-user is missing"
for pair in Nehalem=scalar Haswell=avx2; do
    export FATTN_EXPECT_CPU_TARGET=${pair#*=}
    echo "${pair%=*} must choose ${FATTN_EXPECT_CPU_TARGET}"
    gtest qemu-x86_64 -cpu "${pair%=*}" .build/native/release/tests/fattn_test_include
done
finish
