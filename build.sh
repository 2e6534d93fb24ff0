#!/usr/bin/env bash
# The one command of the project: sets up what a verb needs, then calls CMake for native code and MSBuild for managed code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source cmake/need.sh

export DOTNET_CLI_TELEMETRY_OPTOUT=1 TESTINGPLATFORM_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
tool=(dotnet run --project src/FusedAttention.Cli -c Release --no-build --)

usage() {
    cat <<'TEXT'
./build.sh VERB [options]
  run             build everything and run the demonstration of the fattn tool
  test            build and run every test; --quick: native and managed suites only; --full: every random problem
  bench           measure: native kernels, the cost of the managed layer, fattn bench
  pack            make the NuGet package in .build/pkg
  native          build the native library alone, into .build/native/out
  cuda-toolkit    find a CUDA compiler, or lay one into .build/cuda-toolkit (no GPU and no driver needed)
  clean           remove .build
TEXT
}

# configure_native <cmake option>...: one release tree serves run, test, bench and pack.
configure_native() {
    need g++=g++ cmake=cmake ninja=ninja-build
    cmake -S . -B .build/native/release -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$PWD/.build/native/out" -DFATTN_BUILD_TESTS=OFF -DFATTN_BUILD_VIRTUAL_GPU=OFF \
        -DFATTN_BUILD_BENCHMARKS=OFF -DFATTN_JOIN_SOURCES=ON "$@" \
        > .build/native/configure.log || { cat .build/native/configure.log; return 1; }
}

build_native() {
    mkdir -p .build/native
    configure_native "$@"
    cmake --build .build/native/release
    cmake --install .build/native/release > /dev/null
}

case ${1:-} in
    run)
        need_dotnet
        build_native
        dotnet build src/FusedAttention.Cli -c Release -v quiet
        "${tool[@]}" demo "${@:2}"
        ;;
    test)
        need_dotnet
        need /usr/include/gtest/gtest.h=libgtest-dev
        # In full, every file is compiled by itself and without the precompiled header: both hide a missing include.
        quickly=ON
        [[ " ${*:2} " == *" --full "* ]] && quickly=OFF
        build_native -DFATTN_BUILD_TESTS=ON -DFATTN_BUILD_VIRTUAL_GPU=ON "-DFATTN_SANITIZED_VARIANTS=asan;tsan" \
            -DFATTN_PRECOMPILE_HEADERS=$quickly -DFATTN_JOIN_SOURCES=$quickly
        dotnet build Interop.sln -c Release -v quiet
        exec bash tests/legs/run.sh "${@:2}"
        ;;
    bench)
        need_dotnet
        need /usr/include/benchmark/benchmark.h=libbenchmark-dev
        build_native -DFATTN_BUILD_BENCHMARKS=ON
        dotnet build Interop.sln -c Release -v quiet
        for program in .build/native/release/bench/fattn_bench_*; do "$program"; done
        dotnet run --project tests/FusedAttention.Benchmarks -c Release --no-build -- --filter '*'
        "${tool[@]}" bench "${@:2}"
        ;;
    pack)
        need_dotnet
        build_native
        dotnet pack src/FusedAttention -c Release -v quiet
        ls .build/pkg/*.nupkg
        ;;
    native)
        build_native
        echo "built .build/native/out/lib/libfused_attention.so"
        ;;
    cuda-toolkit)
        bash cmake/cuda_toolkit.sh .build/cuda-toolkit
        ;;
    clean)
        rm -rf .build
        ;;
    *)
        usage
        [[ ${1:-} == --help || ${1:-} == -h ]] || exit 2
        ;;
esac
