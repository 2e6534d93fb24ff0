#!/usr/bin/env bash
# Leg: packs the library, restores the package from a local folder into a fresh console project and runs that program.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
consumer=$work/consumer
rm -rf "$consumer" "$work/packages/fusedattention" .build/pkg
mkdir -p "$consumer"
check "pack" ./build.sh pack
cp tests/legs/package_consumer/* "$consumer/"
package=$(ls .build/pkg/FusedAttention.*.nupkg 2> /dev/null | head -n 1)
version=$(basename "${package:-FusedAttention.none.nupkg}" .nupkg)
version=${version#FusedAttention.}

# A package cache of its own: an older package of the same version must not be found instead.
check "build a fresh consumer" dotnet build "$consumer" -c Release -v quiet \
    -p:PackageVersionUnderTest="$version" -p:RestoreAdditionalProjectSources="$root/.build/pkg" \
    -p:RestorePackagesPath="$work/packages"
check "run the fresh consumer" dotnet run --project "$consumer" -c Release --no-build
finish
