#!/usr/bin/env bash
# Leg: the NUnit suite against the net10.0 build of the library, its category GPU on the virtual GPU, then what of it tests the
# library against the net8.0 build; in full the whole suite again.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# The suite compares the committed bindings with those of each; without one it says so in a skipped test.
need clang-14=clang-14 clang-19=clang-19 || true
export FATTN_EXPECT_LIBRARY_FRAMEWORK=net10.0
dotnet_tests net10.0 dotnet test --solution Interop.sln -c Release --no-build --filter "Category!=GPU"
# In a process of its own: a process has one driver, and the other tests are of machines without.
if (virtual_gpu); then
    (virtual_gpu && dotnet_tests gpu .build/dotnet/bin/FusedAttention.Tests/release/FusedAttention.Tests \
        --filter "Category=GPU" --minimum-expected-tests 30)
else
    echo "gpu: not run, the build has no virtual GPU"
fi

net8=$root/.build/dotnet-net8
check "build the suite against net8.0" dotnet build tests/FusedAttention.Tests -c Release -v quiet \
    -p:LibraryFramework=net8.0 -p:ArtifactsPath="$net8"
export FATTN_EXPECT_LIBRARY_FRAMEWORK=net8.0
only=(--filter "Category!=GPU")
# The tool and the generator of bindings are not in the library; what tests them has run.
[[ $FATTN_TEST_MODE == full ]] || only=(--filter "Category!=GPU&FullyQualifiedName!~Tests.Cli.&FullyQualifiedName!~Tests.BindingGenerator.")
dotnet_tests net8.0 "$net8/bin/FusedAttention.Tests/release/FusedAttention.Tests" "${only[@]}"
finish
