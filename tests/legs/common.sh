# What every test leg uses: where things are, how programs are run, how results are counted. Sourced by each leg.
# A leg is a program: exit 0 when all passed, 1 when something failed, 77 when it could not run (its last line says why).
# It adds lines "passed failed skipped" to the file LEG_COUNTS, which run.sh sums.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source cmake/need.sh

root=$PWD
work=$root/.build/test/$(basename "$0" .sh)
mkdir -p "$work"
if [[ ! -v LEG_COUNTS ]]; then
    LEG_COUNTS=$work/counts
    : > "$LEG_COUNTS"
fi
: "${FATTN_TEST_MODE:=sampled}"
mode_of_run=$FATTN_TEST_MODE
# Random problems begin at seed 1 unless FATTN_TEST_SEED says otherwise, so that a red run is red again for everyone
# (native/notes/0028-test-seeds.md).
export FATTN_TEST_MODE

# reduce_samples: for legs whose programs run many times slower than the release build: a sixteenth of the sample, and in full
# mode the sample.
reduce_samples() {
    if [[ $FATTN_TEST_MODE == full ]]; then FATTN_TEST_MODE=sampled; else FATTN_TEST_MODE=reduced; fi
}

count() { echo "$1 $2 ${3:-0}" >> "$LEG_COUNTS"; }
not_run() { echo "not run: $*"; exit 77; }

# check <name> <command>...: one test that passes when the command does; its output is shown when it does not.
check() {
    local name=$1 log
    shift
    log=$work/${name//[^A-Za-z0-9_.-]/_}.log
    if "$@" > "$log" 2>&1; then
        echo "ok    $name"
        count 1 0
    else
        echo "FAIL  $name (exit $?): $*"
        tail -n 60 "$log" | sed 's/^/      /'
        count 0 1
        return 1
    fi
}

# gtest <launcher and program>...: runs one GoogleTest program, a share of its tests on each processor, and counts its tests; a
# share that crashes, or that ends with an error although its tests passed (a leak, say), counts as one failure.
gtest() {
    local program=${*: -1} started=$SECONDS name log xml shares share passed failed skipped ended_well
    local all_passed=0 all_failed=0 all_skipped=0 processes=()
    name=$(basename "$program") shares=$(nproc)
    rm -f "$work/$name".*.xml
    for ((share = 0; share < shares; ++share)); do
        GTEST_TOTAL_SHARDS=$shares GTEST_SHARD_INDEX=$share "$@" --gtest_brief=1 \
            --gtest_output="xml:$work/$name.$share.xml" > "$work/$name.$share.log" 2>&1 &
        processes+=($!)
    done
    for ((share = 0; share < shares; ++share)); do
        wait "${processes[share]}" && ended_well=1 || ended_well=0
        log=$work/$name.$share.log xml=$work/$name.$share.xml
        if [[ -s $xml ]]; then
            read -r passed failed skipped < <(awk '
                /<testsuite / {
                    for (i = 1; i <= NF; ++i) {
                        split($i, pair, "\"")
                        if ($i ~ /^tests=/) tests += pair[2]
                        if ($i ~ /^failures=/) failures += pair[2]
                        if ($i ~ /^skipped=/) skipped += pair[2]
                        if ($i ~ /^disabled=/) disabled += pair[2]
                    }
                }
                END { print tests - failures - skipped - disabled, failures + 0, skipped + disabled }' "$xml")
        else
            passed=0 failed=1 skipped=0
            echo "$name ended without a result" >> "$log"
        fi
        ((ended_well || failed)) || failed=1
        ((failed)) && tail -n 150 "$log"
        all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed)) all_skipped=$((all_skipped + skipped))
    done
    count "$all_passed" "$all_failed" "$all_skipped"
    echo "$name: $all_passed passed, $all_failed failed, $all_skipped skipped, $((SECONDS - started)) s"
}

# each_program <folder> <command>...: calls the command with each GoogleTest program that the build tree has there, two at a
# time: where a share of one ends before its others, the next keeps the processor.
each_program() {
    local folder=$1 program programs=()
    shift
    if ! mapfile -t programs 2> /dev/null < "$folder/programs.txt" || ((${#programs[@]} == 0)); then
        echo "FAIL  there are no programs in $folder"
        count 0 1
    fi
    for program in "${programs[@]}"; do
        while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
        "$@" "$folder/$program" &
    done
    wait
}

# gtest_all <folder> <launcher>...: runs each of them.
gtest_all() { each_program "$1" gtest "${@:2}"; }

# dotnet_tests <label> <command>...: runs the managed suite and counts its tests.
dotnet_tests() {
    local label=$1 log passed failed skipped
    shift
    log=$work/$label.log
    # Where CI is set the test platform colours its summary; the counts are read without colours.
    "$@" 2>&1 | sed 's/\x1b\[[0-9;]*m//g' > "$log" || true
    passed=$(awk '$1 == "succeeded:" { n = $2 } END { print n + 0 }' "$log")
    failed=$(awk '$1 == "failed:" { n = $2 } END { print n + 0 }' "$log")
    skipped=$(awk '$1 == "skipped:" { n = $2 } END { print n + 0 }' "$log")
    if ! grep -q '^Test run summary' "$log" || ((passed + failed == 0)); then
        failed=$((failed + 1))
    fi
    count "$passed" "$failed" "$skipped"
    ((failed)) && tail -n 150 "$log"
    echo "$label: $passed passed, $failed failed, $skipped skipped"
}

# virtual_gpu: makes the virtual GPU of the release tree the CUDA driver of what is started from here on, with the toolkit's NVRTC
# and a cache of its own. False where the tree has no virtual GPU or no kernels for it.
virtual_gpu() {
    local folder=$root/.build/native/release/virtual_gpu nvrtc
    [[ -f $folder/libcuda_virtual.so && -s $folder/fused_attention.ptxpack ]] || return 1
    export FATTN_CUDA_DRIVER=$folder/libcuda_virtual.so FATTN_CUDA_CACHE=$work/kernels
    export FATTN_VIRTUAL_GPU_MODELS=sm_80,sm_90a,sm_80,sm_80 FATTN_VIRTUAL_GPU_MEMORY=256M FATTN_VIRTUAL_GPU_REPORT=none
    export FATTN_VIRTUAL_GPU_REGISTERS=$root/tests/checks/cuda_resources.tsv
    nvrtc=$(compgen -G "$root/.build/cuda-toolkit/lib64/libnvrtc.so.1[0-9]" | head -n 1) && export FATTN_NVRTC=$nvrtc
    return 0
}

# native_build <preset> <cmake option>...: one test that a build tree of its own, .build/native/<preset>, can be made. The leg
# ends here when it cannot.
native_build() {
    local tree=.build/native/$1 quickly=ON
    shift
    # In full, every file is compiled by itself, which notices a missing include.
    [[ $mode_of_run == full ]] && quickly=OFF
    check "configure ${tree##*/}" cmake -S . -B "$tree" -G Ninja -DFATTN_JOIN_SOURCES=$quickly "$@" && check "build ${tree##*/}" cmake --build "$tree" || finish
}

# anything_failed: true when the leg, or a process of its, has counted a failure.
anything_failed() { ! awk '$2 > 0 { exit 1 }' "$LEG_COUNTS"; }
finish() {
    anything_failed && exit 1
    exit 0
}
