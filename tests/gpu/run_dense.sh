#!/usr/bin/env bash
# run.sh of a folder that device_folder.sh made: checks the dense keys on this machine's GPU, then times them.
# Results go to $OUT; SEED is the first random problem.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-.}
"$here/dense_on_device" "$here/cubin" "$out" check 38 "${SEED:-1}" > "$out/check.txt" 2>&1
check=$?
tail -n 60 "$out/check.txt" | cut -c1-600
"$here/dense_on_device" "$here/cubin" "$out" time > "$out/time.txt" 2>&1
time=$?
cat "$out/time.txt"
echo "check $check, time $time"
exit $((check + time))
