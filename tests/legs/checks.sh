#!/usr/bin/env bash
# Leg: what the tree promises about itself and about the files that were built.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need clang-14=clang-14 clang-format-14=clang-format-14 nm=binutils git=git ||
    not_run "clang-14, clang-format-14, binutils or git is missing"

release=.build/native/release
header=native/include/fused_attention/fused_attention.h
check "include lines follow the arrows" bash tests/checks/include_arrows.sh
check "a planted wrong include is seen" bash tests/checks/include_arrows_self_test.sh
check "target files export one table" bash tests/checks/target_symbols.sh "$release"
check "the library file exports the header" bash tests/checks/library_file.sh .build/native/out/lib/libfused_attention.so "$header"
check "no global constructors" bash tests/checks/no_constructors.sh "$release"
check "house rules" bash tests/checks/house_rules.sh
for clang in clang-14 clang-19; do
    command -v "$clang" > /dev/null || continue
    check "committed bindings equal those of $clang" dotnet run --project src/BindingGenerator -c Release --no-build -- \
        --check --clang "$clang"
done
check "clang-format" bash tests/checks/format.sh
finish
