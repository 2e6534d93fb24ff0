#!/usr/bin/env python3
"""Compares what ptxas and the machine code say of every kernel with the committed table. Called by the cuda_kernels leg.

cuda_resources.py FOLDER --cuobjdump PROGRAM [--table FILE] [--update]

FOLDER is <build>/cuda, where each <module>.<target>.cubin lies beside <module>.<target>.txt, the report of ptxas -v. The table,
cuda_resources.tsv beside this file, has a row for each kernel and target:

  registers       at most this many a thread
  shared          bytes of static shared memory
  stack, spills   bytes of local memory a thread, and of spill stores and loads together; 0 unless the table names an exception
  matrix          tensor-core instructions (HMMA, HGMMA) in the machine code; 0 means that there must be none, else at least one
  wide            whether global memory is accessed 16 bytes at a time

Fails for a kernel that the table lacks or that is gone, for more registers, stack or spills than the table has, for another amount of
shared memory, for missing matrix instructions or wide accesses, for LDL and STL in a kernel whose stack is 0, and for ptxas' lines
C7505 to C7520, which say that it gave up on asynchronous matrix instructions. --update writes the table anew; read its diff.

Beside the table lie the digests of the machine code that it was made from (the same name, ending in .sha256). Machine code with the digest
of its module and target there is not disassembled again, which takes a minute for all kernels: what the table says of it is so.
"""
import argparse
import hashlib
import pathlib
import re
import subprocess
import sys

COLUMNS = ["module", "target", "kernel", "registers", "shared", "stack", "spills", "matrix", "wide"]
GAVE_UP = re.compile(r"C75(0[5-9]|1[0-9]|20)\b")


def read_report(path):
    """Facts by kernel from a report of ptxas -v, and the lines in which it gave something up."""
    kernels, kernel, problems = {}, None, []
    for line in path.read_text().splitlines():
        if GAVE_UP.search(line):
            problems.append(f"{path.name}: {line.strip()}")
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = kernels.setdefault(found[1], {"shared": 0})
        if found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            kernel["stack"] = int(found[1])
            kernel["spills"] = int(found[2]) + int(found[3])
        if found := re.search(r"Used (\d+) registers", line):
            kernel["registers"] = int(found[1])
            if shared := re.search(r"(\d+) bytes smem", line):
                kernel["shared"] = int(shared[1])
    return kernels, problems


def read_machine_code(cubin, cuobjdump):
    """Per kernel: matrix instructions, 16-byte accesses, local accesses."""
    listing = subprocess.run([cuobjdump, "--dump-sass", str(cubin)], check=True, capture_output=True, text=True).stdout
    kernels, counts = {}, None
    for line in listing.splitlines():
        if found := re.search(r"Function : (\w+)", line):
            counts = kernels.setdefault(found[1], {"matrix": 0, "wide": 0, "local": 0})
        elif counts is not None and (found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", line)):
            name = found[1]
            counts["matrix"] += name.startswith(("HMMA.", "HGMMA.", "QGMMA."))
            counts["wide"] += name.startswith(("LDG.E.128", "LDGSTS.E.", "STG.E.128")) and "128" in name
            counts["local"] += name.startswith(("LDL", "STL"))
    return kernels


def measure(folder, cuobjdump, table, digests):
    """Every kernel of every report as a row of the table, the problems that no table excuses, the digests of the machine code."""
    rows, problems, seen = {}, [], {}
    for report in sorted(folder.rglob("*.sm_*.txt")):
        module, target = report.relative_to(folder).as_posix().removesuffix(".txt").rsplit(".", 1)
        kernels, gave_up = read_report(report)
        problems += gave_up
        cubin = report.with_suffix(".cubin")
        seen[module, target] = hashlib.sha256(cubin.read_bytes()).hexdigest()
        if digests.get((module, target)) == seen[module, target] and all((module, target, name) in table for name in kernels):
            code = {name: table[module, target, name] | {"local": 0} for name in kernels}
        else:
            code = read_machine_code(cubin, cuobjdump)
        for name, facts in kernels.items():
            counts = code[name]
            if facts["stack"] == 0 and counts["local"] > 0:
                problems.append(f"{module} {target} {name}: {counts['local']} accesses to local memory without a stack")
            rows[module, target, name] = facts | {"matrix": min(counts["matrix"], 1), "wide": min(counts["wide"], 1)}
    return rows, problems, seen


def read_digests(path):
    fields = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
    return {(module, target): digest for module, target, digest in fields}


def write_digests(path, digests):
    path.write_text("".join("\t".join([*key, digests[key]]) + "\n" for key in sorted(digests)))


def read_table(path):
    rows = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            fields = dict(zip(COLUMNS, line.split("\t"), strict=True))
            if fields["module"] != "module":
                rows[fields["module"], fields["target"], fields["kernel"]] = {c: int(fields[c]) for c in COLUMNS[3:]}
    return rows


def write_table(path, rows):
    lines = ["# What every kernel may use; tests/checks/cuda_resources.py explains the columns and writes this file.",
             "\t".join(COLUMNS)]
    for key in sorted(rows):
        lines.append("\t".join([*key, *(str(rows[key][c]) for c in COLUMNS[3:])]))
    path.write_text("\n".join(lines) + "\n")


def compare(rows, table):
    problems = [f"{' '.join(key)}: not in the table" for key in sorted(rows.keys() - table.keys())]
    problems += [f"{' '.join(key)}: in the table, but not built" for key in sorted(table.keys() - rows.keys())]
    for key in sorted(rows.keys() & table.keys()):
        for column in COLUMNS[3:]:
            found, allowed = rows[key][column], table[key][column]
            at_most = column in ("registers", "stack", "spills")
            if found > allowed if at_most else found != allowed:
                problems.append(f"{' '.join(key)}: {column} is {found}; the table has {allowed}")
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cuobjdump", required=True)
    parser.add_argument("--table", type=pathlib.Path, default=pathlib.Path(__file__).with_name("cuda_resources.tsv"))
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    beside = options.table.with_suffix(".sha256")
    table, digests = ({}, {}) if options.update else (read_table(options.table), read_digests(beside))
    rows, problems, seen = measure(options.folder, options.cuobjdump, table, digests)
    if options.update:
        write_table(options.table, rows)
        write_digests(beside, {} if problems else seen)
    else:
        problems += compare(rows, table)
        if not rows:
            problems.append(f"no report of ptxas under {options.folder}")
    for problem in problems:
        print(problem)
    print(f"{len(rows)} kernels looked at, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
