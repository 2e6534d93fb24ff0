# need <tool>=<package>...: makes sure that each tool is there, installing its Debian package when root. Sourced by
# build.sh and the test legs. A tool is a command name or the path of a file, such as a header.
need() {
    local pair tool missing=()
    for pair in "$@"; do
        tool=${pair%%=*}
        if [[ $tool == /* ]]; then
            compgen -G "$tool" > /dev/null || missing+=("${pair#*=}")
        else
            command -v "$tool" > /dev/null || missing+=("${pair#*=}")
        fi
    done
    ((${#missing[@]})) || return 0

    if [[ $EUID -eq 0 ]] && command -v apt-get > /dev/null; then
        echo "installing ${missing[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" > /dev/null 2>&1 ||
            { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
                "${missing[@]}" > /dev/null; } && return 0
    fi
    echo "missing: ${missing[*]}; install with: sudo apt-get install ${missing[*]}" >&2
    return 1
}

# need_dotnet: the .NET SDK is never installed by the build; say in one line where to get it.
need_dotnet() {
    dotnet --version > /dev/null 2>&1 && return 0
    echo "missing: .NET SDK 10.0 (global.json names the version); install it from https://dot.net and run again" >&2
    return 1
}

# What sanitized and fuzz programs are compiled with.
# shellcheck disable=SC2034 # used by those who source this file
fuzz_tools=(clang++-14=clang-14 '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a=libclang-rt-14-dev')
