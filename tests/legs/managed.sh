#!/usr/bin/env bash
# Leg: the NUnit suite against the net10.0 build of the library, then what of it tests the library
# against the net8.0 build; in full the whole suite again.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# The suite compares the committed bindings with those of each; without one it says so in a skipped test.
need clang-14=clang-14 clang-19=clang-19 || true
export FATTN_EXPECT_LIBRARY_FRAMEWORK=net10.0
dotnet_tests net10.0 dotnet test --solution Interop.sln -c Release --no-build

net8=$root/.build/dotnet-net8
check "build the suite against net8.0" dotnet build tests/FusedAttention.Tests -c Release -v quiet \
    -p:LibraryFramework=net8.0 -p:ArtifactsPath="$net8"
export FATTN_EXPECT_LIBRARY_FRAMEWORK=net8.0
only=()
# The tool and the generator of bindings are not in the library; what tests them has run.
[[ $FATTN_TEST_MODE == full ]] || only=(--filter "FullyQualifiedName!~Tests.Cli.&FullyQualifiedName!~Tests.BindingGenerator.")
dotnet_tests net8.0 "$net8/bin/FusedAttention.Tests/release/FusedAttention.Tests" "${only[@]}"
finish
