#!/usr/bin/env bash
# library_file.sh FILE FOLDER: the shared library exports only functions that the headers of FOLDER declare, needs nothing
# but the C library, and runs no code when it is loaded. Called by the checks leg.
set -euo pipefail
library=${1:?usage: $0 FILE FOLDER} folder=${2:?usage: $0 FILE FOLDER}
bad=0

exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort -u)
declared=$(grep -ohE '\bfattn_[a-z0-9_]+\(' "$folder"/*.h | tr -d '(' | sort -u)
extra=$(comm -23 <(echo "$exported") <(echo "$declared"))
[[ -n $exported ]] || { echo "exports nothing"; bad=1; }
[[ -z $extra ]] || { echo "exports what the header does not declare: $extra"; bad=1; }

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for name in $needed; do
    case $name in
        libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | ld-linux*) ;;
        *) echo "needs $name; only the C library is allowed"; bad=1 ;;
    esac
done

readelf -d "$library" | grep -q NODELETE || { echo "is not marked NODELETE, but its threads outlive dlclose"; bad=1; }
exit "$bad"
