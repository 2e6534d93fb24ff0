#!/usr/bin/env bash
# Leg: what the tree promises about itself and about the files that were built.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need clang-14=clang-14 clang-format-14=clang-format-14 nm=binutils git=git ||
    not_run "clang-14, clang-format-14, binutils or git is missing"

release=.build/native/release
headers=native/include/fused_attention
check "include lines follow the arrows" bash tests/checks/include_arrows.sh
check "a planted wrong include is seen" bash tests/checks/include_arrows_self_test.sh
check "target files export one table" bash tests/checks/target_symbols.sh "$release"
check "the library file exports the header" bash tests/checks/library_file.sh .build/native/out/lib/libfused_attention.so "$headers"
check "every part of the header stands alone" bash tests/checks/header_parts.sh "$headers"
check "no global constructors" bash tests/checks/no_constructors.sh "$release"
check "house rules" bash tests/checks/house_rules.sh
bindings_equal() {
    check "committed bindings equal those of $1" dotnet run --project src/BindingGenerator -c Release --no-build -- \
        --check --clang "$1"
}
bindings_equal clang-14
not_compared=0
if need clang-19=clang-19; then bindings_equal clang-19; else not_compared=1; fi
check "clang-format" bash tests/checks/format.sh
anything_failed || ((!not_compared)) || not_run "the committed bindings were not compared with those of clang-19, which is missing"
finish
