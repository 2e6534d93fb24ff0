#!/usr/bin/env bash
# check.sh FOLDER [PART...]: all that only a real GPU can tell, on the machine that has one: driver, nvcc, python3 with torch. FOLDER is
# what device_folder.sh made on a machine without a GPU. Parts, all of them unless some are named, each within the seconds given:
#   kernels     90   random dense problems, forward and backward, against float64; the carried machine code
#   interface   60   plans of all families through the C interface, with the images of the library
#   managed     60   the category GPU of the managed suite, with the .NET runtime that is carried
#   speed      240   the library beside PyTorch's backends and the card's ceilings, alternating in one process
#   times       60   the compiled keys alone, at more shapes
#   recordings  40   what the instructions of the virtual GPU's cases do
#   rebuild     60   the kernels compile with this machine's nvcc too
#   sanitizer   60   compute-sanitizer over some problems, where the machine lets it run
# A call takes at most $SECONDS_IN_ALL, 530 unless it says otherwise: a part that has less than 20 of them left is named and not run.
# After each part $OUT/results.tgz holds what there is so far, one log and more a part, and check.txt, so that nothing is lost when
# time runs out, and a part that failed, was cut off or not run can be run again alone. The last line is "N parts passed, M failed", with
# the parts that another call has to name; what the machine refuses to do is neither.
set -uo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$(cd "${1:?usage: $0 FOLDER [PART...]}" && pwd)
shift
(($#)) || set -- kernels interface managed speed times recordings rebuild sanitizer
out=$(mktemp -d)
[[ -d $folder/cubin ]] || tar xJf "$folder/carried.tar.xz" -C "$folder" || exit 1
declare -A limit=([kernels]=90 [interface]=60 [managed]=60 [speed]=240 [times]=60 [recordings]=40 [rebuild]=60 [sanitizer]=60)

kernels() { "$folder/dense_on_device" "$folder/cubin" "$out" check 45 "${SEED:-1}"; }

interface() {
    # Devices beyond the first and models other than this GPU are the virtual GPU's alone.
    FATTN_CUDA_DRIVER=libcuda.so.1 "$folder/fattn_test_cuda" --gtest_brief=1 --gtest_filter='DensePlanOnCuda.*:DenseBackwardOnCuda.*:SparsePlanOnCuda.*:LightningOnCuda.*:HostLengthsOnCuda.*:RunsInGraphs.*:CacheAppendOnCuda.*:MergeOnCuda.*:WorkOnCuda.Bytes*:WorkOnCuda.Handles*-*AnotherDevice*:*AnotherModel*:*DescribesItself*' \
        --gtest_output="xml:$out/interface.xml" && grep -q 'testsuites tests="[1-9]' "$out/interface.xml"
}

managed() {
    DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 FATTN_CUDA_DRIVER=libcuda.so.1 "$folder/managed/FusedAttention.Tests" \
        --filter Category=GPU --minimum-expected-tests 50 --results-directory "$out/managed"
}

speed() {
    python3 "$tree/tests/gpu/peers.py" --json "$out/speed.json" --seconds 170 --library "$folder/libfused_attention.so" \
        --only "${ONLY:-ceiling|dense (D128|D64|D256) S(2048|16384)|dense GQA.*S8192|decode|neighborhood|S2|blocks|lightning}"
}

times() { "$folder/dense_on_device" "$folder/cubin" "$out" time; }

recordings() {
    "$folder/fattn_virtual_gpu_record" --folder "$tree/tests/virtual_gpu" --jobs 8 > "$out/recordings.txt" || return 1
    results() { grep -v -e '^#' -e '^device ' "$1"; }
    if diff <(results "$tree/tests/virtual_gpu/recordings/h100.txt") <(results "$out/recordings.txt") > "$out/recordings.diff"; then
        echo "as on the H100 of the committed recordings"
    else
        echo "$(grep -c '^[<>]' "$out/recordings.diff") lines differ from the H100 of the committed recordings, the first of them:"
        head -n 6 "$out/recordings.diff"
        return 1
    fi
}

rebuild() {
    local nvcc arch
    nvcc=$(command -v nvcc || compgen -G '/usr/local/cuda*/bin/nvcc' | head -n 1)
    [[ -n $nvcc ]] || { echo "there is no nvcc"; return 77; }
    "$nvcc" --version | tail -n 2
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    mkdir -p "$folder/rebuilt"
    # Under the names by which dense_on_device looks for them.
    basename -s .cu "$tree"/native/cuda/device/*.cu | xargs -P "$(nproc)" -I '{}' "$nvcc" -std=c++20 -I "$tree/native" -arch "sm_$arch" \
        -cubin -o "$folder/rebuilt/{}.sm_$((arch >= 90 ? 90 : 80)).cubin" "$tree/native/cuda/device/{}.cu" &&
        "$folder/dense_on_device" "$folder/rebuilt" "$folder/rebuilt" check 10 1
}

sanitizer() {
    local tool probe
    tool=$(command -v compute-sanitizer || compgen -G '/usr/local/cuda*/bin/compute-sanitizer' | head -n 1)
    [[ -n $tool ]] || { echo "there is no compute-sanitizer"; return 77; }
    probe=$("$tool" --tool memcheck "$folder/dense_on_device" "$folder/cubin" "$(mktemp -d)" check 1 1 2>&1) || true
    grep -q 'ERROR SUMMARY' <<< "$probe" || { echo "compute-sanitizer does not run here:"; head -n 5 <<< "$probe"; return 77; }
    "$tool" --tool memcheck --error-exitcode 1 "$folder/dense_on_device" "$folder/cubin" "$(mktemp -d)" check 15 1 &&
        "$tool" --tool racecheck --error-exitcode 1 "$folder/dense_on_device" "$folder/cubin" "$(mktemp -d)" check 15 1
}

export -f kernels interface managed speed times recordings rebuild sanitizer
export tree folder out
nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader | tee "$out/check.txt"
passed=0 failed=0 left=() refused=()
for part in "$@"; do
    [[ -n ${limit[$part]:-} ]] || { echo "no part is called $part; there are ${!limit[*]}"; exit 2; }
done
for part in "$@"; do
    started=$SECONDS
    seconds=$((${SECONDS_IN_ALL:-530} - SECONDS))
    if ((seconds < 20)); then
        left+=("$part")
        continue
    fi
    ((seconds < limit[$part])) || seconds=${limit[$part]}
    timeout -k 5 "$seconds" bash -c "$part" > "$out/$part.log" 2>&1
    case $? in
        0) state=passed passed=$((passed + 1)) ;;
        77) state="not possible here" refused+=("$part") ;;
        124 | 137) state="FAILED, cut off" failed=$((failed + 1)) ;;
        *) state="FAILED" failed=$((failed + 1)) ;;
    esac
    tail -n 25 "$out/$part.log" | cut -c1-300
    echo "$part: $state, $((SECONDS - started)) s" | tee -a "$out/check.txt"
    tar czf "${OUT:-.}/results.tgz" -C "$out" .
done
echo "$passed parts passed, $failed failed${refused[*]:+, not possible here: ${refused[*]}}${left[*]:+, no time was left for ${left[*]}}" |
    tee -a "$out/check.txt"
tar czf "${OUT:-.}/results.tgz" -C "$out" .
((failed == 0 && ${#left[@]} == 0))
