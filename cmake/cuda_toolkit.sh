#!/usr/bin/env bash
# Finds a CUDA 12 compiler, or lays one into a folder; called by `build.sh cuda-toolkit` and by the CUDA test leg.
#   cuda_toolkit.sh PREFIX         a toolkit on PATH or in CUDA_HOME is used; else one is assembled in PREFIX
#   cuda_toolkit.sh --find PREFIX  only looks, never installs
# Prints the toolkit's folder as its last line. Compiling needs neither a GPU nor a driver.
#
# The folder is put together from Debian 13's packages (CUDA 12.4, the last one that Debian carries with sm_90a): they
# are downloaded through apt with lists of its own and unpacked, so the system's packages stay as they are.
set -euo pipefail

oldest_major=12
packages=(nvidia-cuda-toolkit nvidia-cuda-dev libnvrtc12 libnvrtc-builtins12.4 libnvvm4 libcudart12
    libcu++-dev libcub-dev libthrust-dev)

# usable_home <folder>: the folder holds an nvcc that is new enough.
usable_home() {
    [[ -x $1/bin/nvcc ]] || return 1
    local major
    major=$("$1/bin/nvcc" --version 2> /dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
    [[ -n $major ]] && ((major >= oldest_major))
}

find_home() {
    local candidates=("$1") nvcc
    [[ -n ${CUDA_HOME:-} ]] && candidates=("$CUDA_HOME" "${candidates[@]}")
    nvcc=$(command -v nvcc || true)
    [[ -n $nvcc ]] && candidates=("$(dirname "$(dirname "$(readlink -f "$nvcc")")")" "${candidates[@]}")
    for home in "${candidates[@]}"; do
        usable_home "$home" && { echo "$home"; return 0; }
    done
    return 1
}

# debian_archive: the Debian archive that apt on this machine already uses.
debian_archive() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1
}

# fetch <work folder>: downloads the packages into <work folder>/debs.
fetch() {
    local archive apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    archive=$(debian_archive) || { echo "apt on this machine knows no Debian archive; install CUDA 12 and set CUDA_HOME" >&2; exit 1; }
    [[ -r $keyring ]] || { echo "missing: $keyring; install debian-archive-keyring" >&2; exit 1; }
    mkdir -p "$1"/{lists/partial,cache/archives/partial,debs}
    echo "deb [signed-by=$keyring] $archive trixie main contrib non-free" > "$1/sources.list"
    apt=(apt-get -qq -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache")
    [[ $EUID -eq 0 ]] && apt+=(-o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$1/debs" && "${apt[@]}" download "${packages[@]}")
}

# unpack <work folder>: of the development package only headers, stubs and the run-time library are wanted (it is 1 GB).
unpack() {
    local deb
    mkdir -p "$1/root"
    for deb in "$1"/debs/*.deb; do
        if [[ $deb == */nvidia-cuda-dev_* ]]; then
            dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1/root" --wildcards './usr/include/*' \
                './usr/lib/*-linux-gnu/libcudart*' './usr/lib/*-linux-gnu/libcudadevrt*' './usr/lib/*-linux-gnu/stubs/*'
        else
            dpkg-deb -x "$deb" "$1/root"
        fi
    done
}

# assemble <work folder> <prefix>: the layout that nvcc expects beside itself. Debian's /usr/bin/nvcc is a wrapper with
# absolute paths; the real one reads nvcc.profile from its own folder.
assemble() {
    local usr=$1/root/usr home=$2
    local private=$usr/lib/nvidia-cuda-toolkit
    mkdir -p "$home"/{bin,include,lib64,nvvm/bin,nvvm/libdevice}
    cp -a "$usr"/bin/. "$home/bin/"
    rm -f "$home/bin/nvcc"
    cp -a "$private/bin/nvcc" "$private/bin/crt" "$home/bin/"
    cp -a "$private/bin/cicc" "$home/nvvm/bin/"
    cp -a "$private"/libdevice/. "$home/nvvm/libdevice/"
    cp -a "$usr"/include/. "$home/include/"
    cp -a "$usr"/lib/*-linux-gnu/. "$home/lib64/"
    cat > "$home/bin/nvcc.profile" <<'PROFILE'
TOP                = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH              += $(TOP)/nvvm/bin:$(_HERE_):
INCLUDES          += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES         =+ $(_SPACE_) "-L$(TOP)/lib64/stubs" "-L$(TOP)/lib64"
PROFILE
}

only_find=0
[[ ${1:-} == --find ]] && { only_find=1; shift; }
prefix=$(realpath -m "${1:?usage: $0 [--find] PREFIX}")

if home=$(find_home "$prefix"); then
    ((only_find)) || "$home/bin/nvcc" --version | tail -n 2
    echo "$home"
    exit 0
fi
((only_find)) && { echo "no nvcc of CUDA $oldest_major or newer on PATH, in CUDA_HOME or in $prefix" >&2; exit 1; }
command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null ||
    { echo "no nvcc found and no apt here to get one; install CUDA $oldest_major and set CUDA_HOME" >&2; exit 1; }

# Assembled beside the final place and renamed: an interrupted run leaves no half toolkit behind.
mkdir -p "$(dirname "$prefix")"
work=$(mktemp -d "$prefix.XXXXXX")
trap 'rm -rf "$work"' EXIT
fetch "$work"
unpack "$work"
assemble "$work" "$work/home"
usable_home "$work/home" || { echo "the assembled toolkit does not run" >&2; exit 1; }
rm -rf "$prefix"
mv "$work/home" "$prefix"
"$prefix/bin/nvcc" --version | tail -n 2
echo "$prefix"
