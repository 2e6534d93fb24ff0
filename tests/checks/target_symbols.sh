#!/usr/bin/env bash
# target_symbols.sh BUILD: proves of each target_<isa>.o in a release build that exactly one symbol leaves it and none is
# weak. Called by the checks leg. A weak symbol (an inline function, say) may be taken by the linker for the whole
# library, and an older processor would then meet AVX-512 code outside the file that may contain it.
set -euo pipefail
build=${1:?usage: $0 BUILD}
bad=0 seen=0
for object in "$build"/CMakeFiles/fattn_target_*.dir/native/cpu/target_*.o; do
    [[ -e $object ]] || continue
    seen=$((seen + 1))
    exported=$(nm --defined-only --extern-only "$object" | awk '$2 ~ /^[A-TX-Z]$/' | wc -l)
    weak=$(nm --defined-only "$object" | awk '$2 ~ /^[VvWwu]$/ { print $3 }' | c++filt)
    if [[ $exported -ne 1 ]]; then
        echo "$(basename "$object") exports $exported symbols; exactly one table is allowed:"
        nm --defined-only --extern-only --demangle "$object"
        bad=1
    fi
    if [[ -n $weak ]]; then
        echo "$(basename "$object") has weak symbols; put them in an unnamed namespace or force them inline:"
        echo "$weak"
        bad=1
    fi
done
((seen > 0)) || { echo "no target object found under $build"; exit 1; }
echo "$seen target objects looked at"
exit "$bad"
