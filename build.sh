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

# build_library <cmake option>...: the library file, into .build/native/out. One release tree serves every verb; options that a
# verb does not name stay as the verb before left them, so that no verb throws another's programs away.
build_library() {
    need g++=g++ cmake=cmake ninja=ninja-build
    mkdir -p .build/native
    cmake -S . -B .build/native/release -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$PWD/.build/native/out" -DFATTN_JOIN_SOURCES=ON "$@" \
        > .build/native/configure.log || { cat .build/native/configure.log; return 1; }
    build_targets fused_attention
    cmake --install .build/native/release > /dev/null
}

# build_targets <target>...: more of the release tree.
build_targets() { cmake --build .build/native/release --target "$@"; }

case ${1:-} in
    run)
        need_dotnet
        build_library
        dotnet build src/FusedAttention.Cli -c Release -v quiet
        "${tool[@]}" demo "${@:2}"
        ;;
    test)
        need_dotnet
        need /usr/include/gtest/gtest.h=libgtest-dev
        # In full, every file is compiled by itself and without the precompiled header: both hide a missing include.
        quickly=ON
        [[ " ${*:2} " == *" --full "* ]] && quickly=OFF
        # Without clang the legs that want it say that they have not run.
        variants="asan;tsan" fuzzers=ON sanitized=(tests_asan tests_tsan fuzzers)
        need "${fuzz_tools[@]}" || { variants=tsan fuzzers=OFF sanitized=(tests_tsan); }
        [[ " ${*:2} " =~ \ --(quick|leg=) && ! " ${*:2} " =~ \ --leg=(sanitizers|fuzz)\  ]] && sanitized=()
        build_library -DFATTN_BUILD_TESTS=ON -DFATTN_BUILD_VIRTUAL_GPU=ON "-DFATTN_SANITIZED_VARIANTS=$variants" \
            -DFATTN_BUILD_FUZZERS=$fuzzers -DFATTN_PRECOMPILE_HEADERS=$quickly -DFATTN_JOIN_SOURCES=$quickly
        # Managed code needs the library file alone, and does not use every processor.
        dotnet build Interop.sln -c Release -v quiet &
        build_targets all "${sanitized[@]}"
        wait "$!"
        exec bash tests/legs/run.sh "${@:2}"
        ;;
    bench)
        need_dotnet
        need /usr/include/benchmark/benchmark.h=libbenchmark-dev
        build_library -DFATTN_BUILD_BENCHMARKS=ON
        build_targets benchmarks
        dotnet build Interop.sln -c Release -v quiet
        for program in .build/native/release/bench/fattn_bench_*; do "$program"; done
        dotnet run --project tests/FusedAttention.Benchmarks -c Release --no-build -- --filter '*'
        "${tool[@]}" bench "${@:2}"
        ;;
    pack)
        need_dotnet
        build_library
        dotnet pack src/FusedAttention -c Release -v quiet
        ls .build/pkg/*.nupkg
        ;;
    native)
        build_library
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
