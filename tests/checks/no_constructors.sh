#!/usr/bin/env bash
# no_constructors.sh BUILD: no object file of the library runs code at load time (a global constructor). Called by the
# checks leg.
set -euo pipefail
build=${1:?usage: $0 BUILD}
bad=0 seen=0
while read -r object; do
    seen=$((seen + 1))
    if readelf -SW "$object" | grep -qE '\.(init_array|ctors)'; then
        echo "${object#"$build"/} has a global constructor:"
        nm --demangle "$object" | grep -E '_GLOBAL__sub_I|__static_initialization' || true
        bad=1
    fi
done < <(find "$build"/CMakeFiles/fattn_objects.dir "$build"/CMakeFiles/fattn_target_*.dir -name '*.o')
((seen > 0)) || { echo "no object found under $build"; exit 1; }
exit "$bad"
