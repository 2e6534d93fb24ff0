#!/usr/bin/env bash
# Launcher: runs a command that CMake made for the compiler FROM with the compiler TO: with_compiler.sh TO FROM COMMAND...
# Set by fattn_sanitized_variant.
to=$1 from=$2
shift 2
command=("$@")
for i in "${!command[@]}"; do
    [[ ${command[i]} != "$from" ]] || command[i]=$to
done
exec "${command[@]}"
