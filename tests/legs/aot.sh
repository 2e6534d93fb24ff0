#!/usr/bin/env bash
# Leg: publishes the smoke program with NativeAOT, where every trim or AOT warning is an error, and runs it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need cc=gcc "/usr/include/zlib.h=zlib1g-dev" || not_run "gcc or zlib1g-dev is missing"
out=$work/publish
check "publish ahead of time" dotnet publish tests/FusedAttention.AotSmoke -c Release --use-current-runtime -v quiet -o "$out"
check "run the native program" "$out/FusedAttention.AotSmoke"
check "no IL is left beside it" bash -c "test -x '$out/FusedAttention.AotSmoke' && ! compgen -G '$out/*.dll'"
finish
