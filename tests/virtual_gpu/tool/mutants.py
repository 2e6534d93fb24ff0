#!/usr/bin/env python3
"""Takes barriers and waits out of a kernel's PTX one at a time and says which of its tests notice, on the virtual GPU. Run by hand:

  python3 tests/virtual_gpu/tool/mutants.py gathered_backward_f32 --entry '_d64_.*keys' --filter 'SparsePlanOnCuda.*'

Each line of the answer is a line of the module's text with line information, the place in the sources, and what became of the kernel without
it: "reported" by a check (with the first words of the report), "wrong" where only results told, "survived", or "never executed". --lines looks
at these alone. native/notes/0071-virtual-gpu-mutants.md has what came of it."""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

INSTRUCTION = re.compile(
    r"^\s*(@!?%p\d+\s+)?(bar\.sync|barrier\.sync|bar\.warp\.sync|cp\.async\.wait_group|cp\.async\.wait_all|cp\.async\.commit_group)\b[^;]*;")
REPORT = re.compile(r"[^.;\n]*(nothing orders|not waited for|never been written|undefined|must stand between|deadlock|livelock|misaligned|trap)[^.;\n]*")


def candidates(lines, entry):
    """(number, instruction, place) of each instruction in entries whose names match; numbers from 0."""
    inside, place, files, found = False, "", {}, []
    for text in lines:
        named = re.match(r'\s*\.file\s+(\d+)\s+"([^"]+)"', text)
        if named:
            files[named[1]] = named[2]
    for number, text in enumerate(lines):
        begins = re.search(r"\.entry\s+(\w+)", text)
        if begins:
            inside = re.search(entry, begins[1]) is not None
        located = re.match(r"\s*\.loc\s+(\d+)\s+(\d+)", text)
        if located:
            where = re.search(r"inlined_at (\d+) (\d+)", text)
            spots = [(located[1], located[2])] + ([(where[1], where[2])] if where else [])
            place = " in ".join(f"{files.get(file, '?').split('/device/')[-1]}:{line}" for file, line in spots)
        if inside and (matched := INSTRUCTION.match(text)):
            found.append((number, matched[2], place))
    return found


class Runner:
    def __init__(self, options, folder):
        self.options, self.folder, self.build = options, folder, Path(options.build)

    def run(self, lines):
        """Whether the tests pass with this text, and the first report."""
        text, pack = self.folder / "mutant.ptx", self.folder / "mutant.pack"
        text.write_text("\n".join(lines) + "\n")
        (self.folder / "list").write_text(f"ptx {self.options.module} compute_80 {text}\n")
        subprocess.run([self.build / "fattn_pack_images", pack, self.folder / "list", self.build / "cuda/sources.pack"], check=True)
        environment = {**os.environ, "FATTN_PTX_PACK": str(pack), "GTEST_FILTER": self.options.filter, "GTEST_FAIL_FAST": "1",
                       "FATTN_VIRTUAL_GPU_REPORT": "faults"}
        try:
            done = subprocess.run([self.build / "tests/fattn_test_cuda"], env=environment, capture_output=True, text=True,
                                  timeout=self.options.timeout, errors="replace")
        except subprocess.TimeoutExpired:
            return False, "ran out of time"
        output = done.stdout + done.stderr
        if "Running 0 tests" in output:
            sys.exit(f"no test has a name that fits {self.options.filter}")
        said = REPORT.search(output)
        return done.returncode == 0, said[0].strip()[:120] if said else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", help="as dense_forward_bf16_lean")
    parser.add_argument("--entry", default=".", help="pattern of the entries that are changed")
    parser.add_argument("--filter", required=True, help="tests of fattn_test_cuda")
    parser.add_argument("--lines", default="", help="lines of the text, with commas between; all without")
    parser.add_argument("--list", action="store_true", help="only say what would be taken out")
    parser.add_argument("--build", default=".build/native/release")
    parser.add_argument("--timeout", type=float, default=300)
    options = parser.parse_args()
    lines = (Path(options.build) / f"cuda/{options.module}.lines.ptx").read_text().splitlines()
    wanted = {int(one) - 1 for one in options.lines.split(",") if one}
    chosen = [one for one in candidates(lines, options.entry) if not wanted or one[0] in wanted]
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(options, Path(folder))
        if not options.list and not runner.run(lines)[0]:
            sys.exit("the tests fail with the text as it is")
        for number, what, place in chosen:
            outcome, said = "listed", ""
            if not options.list:
                passes, said = runner.run(lines[:number] + [""] + lines[number + 1:])
                outcome = "reported" if said else "wrong"
                if passes:
                    executed = not runner.run(lines[:number] + ["trap;"] + lines[number + 1:])[0]
                    outcome, said = ("survived" if executed else "never executed"), ""
            counts[outcome] = counts.get(outcome, 0) + 1
            print(f"{number + 1:6} {what:24} {place:48} {outcome} {said}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
