#!/usr/bin/env python3
"""Proves that cuda_resources.py sees each kind of regression: plants one at a time. Called by the cuda_kernels leg."""
import pathlib
import stat
import subprocess
import sys
import tempfile

REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k' for 'sm_80'
ptxas info    : Function properties for k
    {stack} bytes stack frame, {spills} bytes spill stores, 0 bytes spill loads
ptxas info    : Used {registers} registers, {shared} bytes smem, 1464 bytes cmem[0]
{extra}
"""
CODE = """		Function : k
        /*0000*/                   {load} R1, [R2] ;
        /*0010*/              @!P0 {math} R0, R2, R4, R0 ;
        /*0020*/                   {last} ;
"""
GOOD = dict(stack=0, spills=0, registers=128, shared=1024, extra="", load="LDG.E.128", math="HMMA.16816.F32.BF16", last="EXIT")
PLANTED = [
    (dict(registers=129), "registers is 129"),
    (dict(shared=2048), "shared is 2048"),
    (dict(stack=8, last="LDL R0, [R1]"), "stack is 8"),
    (dict(spills=4), "spills is 4"),
    (dict(math="FFMA"), "matrix is 0"),
    (dict(load="LDG.E.64"), "wide is 0"),
    (dict(last="STL [R1], R0"), "accesses to local memory"),
    (dict(extra="ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"), "C7510"),
]


def check(folder, *options):
    script = pathlib.Path(__file__).with_name("cuda_resources.py")
    return subprocess.run([sys.executable, script, folder, "--cuobjdump", folder / "cuobjdump", "--table", folder / "table", *options],
                          capture_output=True, text=True)


def plant(folder, facts):
    (folder / "m.sm_80.txt").write_text(REPORT.format(**facts))
    (folder / "m.sm_80.cubin").write_text(CODE.format(**facts))


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    tool = folder / "cuobjdump"
    tool.write_text('#!/bin/sh\ncat "$2"\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    plant(folder, GOOD)
    assert check(folder, "--update").returncode == 0
    result = check(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    for change, words in PLANTED:
        plant(folder, GOOD | change)
        result = check(folder)
        assert result.returncode == 1 and words in result.stdout, (change, result.stdout, result.stderr)
    plant(folder, GOOD | dict(registers=100))
    assert check(folder).returncode == 0, "fewer registers are no regression"
    plant(folder, GOOD)
    tool.unlink()
    assert check(folder).returncode == 0, "machine code of a known digest is disassembled"
    table = folder / "table"
    tool.write_text('#!/bin/sh\ncat "$2"\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    table.write_text(table.read_text().replace("\tk\t", "\tother\t"))
    result = check(folder)
    assert "not in the table" in result.stdout and "not built" in result.stdout, result.stdout
print(f"{len(PLANTED)} planted regressions were seen")
