#!/usr/bin/env python3
"""Measures dense attention against PyTorch, ONNX Runtime, oneDNN and TorchSharp in one run; started by hand, see native/README.md.

Every side is a process that keeps its tensors and waits for its turn, pinned to the same processors; the turns
alternate. It installs nothing: a peer that is not on the machine is named and left out. A peer may be asked for the
same problem in several ways; the fastest of a short trial is compared. Each way's result is checked against ours.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the folder of the sources stays as it is
import onnx_model
import shapes as shape_list

HERE = pathlib.Path(__file__).resolve().parent
# Largest difference of a result in f32, relative to 1 + |ours|; bf16 rounds inputs of the second product to 8 bits.
TOLERANCE = {"f32": 1e-4, "bf16": 3e-2}
MINIMUM_TURN = 0.02  # seconds; a shorter case runs several times in one turn
TRIALS = 3
# glibc's malloc gives nothing back to the system: a peer that allocates its result and its temporaries in every call would
# otherwise be held back by page faults, which are slow in some virtual machines.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


class Side:
    """A process that runs attention on request."""

    def __init__(self, name, command, processors, environment, values):
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, processors))
        self.version = self.ask(do="start", values=values, threads=len(processors))["version"]

    def ask(self, **message):
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def worker_text(*names):
    """A worker after what it stands on; as text, so that it also runs where this folder cannot be seen."""
    return "".join((HERE / name).read_text() for name in names)


def find_commands(options, names):
    """Commands of the peers that are here; names those that are not."""
    found = {}
    torch, onednn, node, torchsharp = (shlex.split(o) for o in (
        options.torch_python, options.onednn_python, options.node, options.torchsharp))
    wanted = {
        "PyTorch": (torch + ["-c", "import torch"], torch + ["-c", worker_text("patterns.py", "torch_families.py", "torch_worker.py")]),
        "ONNX Runtime": (node + ["-e", "require('onnxruntime-node')"],
                         node + ["-e", (HERE / "onnxruntime_worker.js").read_text()]),
        "oneDNN": (onednn + ["-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", options.onednn_library],
                   onednn + ["-c", worker_text("memory.py", "onednn_worker.py"), options.onednn_library]),
        "TorchSharp": (torchsharp + ["--version"], torchsharp),
    }
    for name in names:
        probe, command = wanted[name]
        try:
            probed = subprocess.run(probe, capture_output=True, text=True, check=False,
                                    env={**os.environ, "NODE_PATH": options.node_path})
            reason = next((line for line in probed.stderr.splitlines() if "Error: " in line), "")
            present = probed.returncode == 0
        except OSError as error:
            present, reason = False, str(error)
        if present:
            found[name] = command
        else:
            print(f"{name}: not found by {' '.join(probe)}: {reason}", file=sys.stderr)
    return found


def start_sides(options, commands, processors, values):
    threads = str(len(processors))
    environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "NODE_PATH": options.node_path,
                   **KEEP_MEMORY}
    if options.openblas_core:
        environment["OPENBLAS_CORETYPE"] = options.openblas_core
    ours = [sys.executable, "-c", worker_text("memory.py", "patterns.py", "our_worker.py"), options.library]
    return [Side(name, command, processors, environment, values)
            for name, command in {"ours": ours, **commands}.items()]


def variants_of(side, shape, skip):
    """The requests that open this problem on a side, by variant; without those that the user skips."""
    if side.name == "ours":
        return {"ours": {}}
    if side.name == "oneDNN":
        requests = {"graph": {}}
    elif side.name == "TorchSharp":
        requests = {"sdpa": {}, "operations": {}}
    elif side.name == "PyTorch":
        requests = {variant: {} for variant in shape.torch_ways}
    else:
        requests = {variant: {"layout": layout, "model": base64.b64encode(model).decode()}
                    for variant, (layout, model) in onnx_model.models(shape).items()}
    return {variant: request for variant, request in requests.items()
            if not (skip and re.search(skip, f"{side.name} {variant} {shape.dtype}"))}


def worst_difference(sample, ours):
    return max(abs(a - b) / (1 + abs(b)) for a, b in zip(sample, ours, strict=True))


def seconds_of(side, variant, times, clock):
    reply = side.ask(do="run", variant=variant, times=times)
    if "error" in reply:
        raise RuntimeError(f"{side.name}, {variant}: {reply['error']}")
    return reply[clock]


def clock_of(shape, options):
    """Processor time says what a turn took only while one thread works."""
    return options.clock if shape.threads == 1 else "wall"


def open_side(side, shape, ours, options):
    """Opens every variant, tries each, returns (fastest variant, its difference, all trials in seconds)."""
    clock = clock_of(shape, options)
    trials, differences, refused = {}, {}, {}
    for variant, request in variants_of(side, shape, options.skip).items():
        reply = side.ask(do="open", variant=variant, shape=vars(shape), starts=shape_list.STARTS,
                         samples=shape_list.NUM_SAMPLES, **request)
        if "error" in reply:
            refused[variant] = reply["error"]
            continue
        differences[variant] = worst_difference(reply["sample"], ours or reply["sample"])
        if differences[variant] > TOLERANCE[shape.dtype]:
            refused[variant] = f"its result differs from ours by {differences[variant]:.2g}"
            continue
        if ours is None:
            return variant, reply["sample"], None
        trials[variant] = min(seconds_of(side, variant, 1, clock) for _ in range(TRIALS))
    best = min(trials, key=trials.get, default=None)
    return best, differences.get(best), {"seconds": trials, "refused": refused}


def measure(shape, sides, options):
    """Alternates all sides on one problem and returns the row of the table."""
    clock = clock_of(shape, options)
    for side in sides:
        side.ask(do="forget")
    _, sample, _ = open_side(sides[0], shape, None, options)
    row = {"case": shape.title(), "unit": shape.unit, "clock": clock, "peers": {}}
    turns = {"ours": "ours"}
    for side in sides[1:]:
        best, difference, trials = open_side(side, shape, sample, options)
        row["peers"][side.name] = {"variant": best, "difference": difference, "trials": trials}
        if best is not None:
            turns[side.name] = best
    by_name = {side.name: side for side in sides}
    times = {name: max(1, round(MINIMUM_TURN / seconds_of(by_name[name], variant, 1, clock)))
             for name, variant in turns.items()}
    seconds = {name: [] for name in turns}
    peaks = []
    kind = "read" if shape.decode else shape.dtype
    for _ in range(options.rounds):
        peaks.append(sides[0].ask(do="peak", kind=kind, threads=shape.threads)[clock])
        for name, variant in turns.items():
            seconds[name].append(seconds_of(by_name[name], variant, times[name], clock))
            time.sleep(options.pause)
    work = shape.work() / 1e9
    # Noise of other processes only lowers a peak, so the highest of the rounds is the machine's.
    row["peak"] = max(peaks)
    row["rate"] = work / statistics.median(seconds["ours"])
    row["of_peak"] = row["rate"] / row["peak"]
    for name in list(turns)[1:]:
        ratios = [theirs / own for theirs, own in zip(seconds[name], seconds["ours"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        row["peers"][name].update(rate=work / statistics.median(seconds[name]), ratio=middle, quartiles=[low, high],
                                  seconds=seconds[name])
    row["seconds"] = seconds["ours"]
    return row


def cells(row, names):
    """The row as text: case, our rate and share of the peak, then rate, ratio and variant of every peer."""
    text = [row["case"], f"{row['rate']:.1f} {row['unit']}", f"{row['of_peak']:.2f}"]
    for name in names:
        peer = row["peers"].get(name, {})
        if "ratio" in peer:
            low, high = peer["quartiles"]
            text.append(f"{peer['rate']:.1f} ({peer['variant']})")
            text.append(f"{peer['ratio']:.2f} ({low:.2f}..{high:.2f})")
        else:
            text += ["cannot" if name in row["peers"] else "not found", "-"]
    return text


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", default=".build/native/out/lib/libfused_attention.so")
    parser.add_argument("--torch-python", default="python3", help="command of a Python that has torch")
    parser.add_argument("--onednn-python", default="python3", help="command of a Python that can load oneDNN")
    parser.add_argument("--onednn-library", default="libdnnl.so.3", help="its shared library, version 3")
    parser.add_argument("--node", default="node", help="command of Node.js")
    parser.add_argument("--node-path", default="", help="node_modules folder with onnxruntime-node")
    parser.add_argument("--torchsharp", default="dotnet .build/dotnet/bin/TorchSharpWorker/release/TorchSharpWorker.dll",
                        help="command of TorchSharpWorker, which is built by hand (600 MB of packages)")
    parser.add_argument("--openblas-core", default="", help="OPENBLAS_CORETYPE for a PyTorch that uses OpenBLAS")
    parser.add_argument("--only", default="", help="regular expression on the names of cases")
    parser.add_argument("--skip", default="", help="regular expression on 'PEER VARIANT DTYPE', of ways not to try")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between turns: spinning threads stop")
    parser.add_argument("--processors", default="", help="processors to pin to, for example 1,0; cases take the first")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="cpu: processor time in one-thread cases, for a machine that others use too")
    parser.add_argument("--json", default="", help="file to write the rows to")
    return parser.parse_args()


def main(shapes, names):
    """Measures these shapes on our side and on the peers of these names."""
    options = parse_arguments()
    options.library = str(pathlib.Path(options.library).resolve())
    commands = find_commands(options, names)
    processors = [int(p) for p in options.processors.split(",") if p] or sorted(os.sched_getaffinity(0))
    values = base64.b64encode(shape_list.values().tobytes()).decode()
    chosen = [s for s in shapes if re.search(options.only, s.title())]
    rows, versions = [], {}
    header = ["case", "ours", "of peak", *(title for name in names for title in (name, "ours / it"))]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for threads in sorted({s.threads for s in chosen}):
        if threads > len(processors):
            print(f"cases of {threads} threads are left out: {len(processors)} processors", file=sys.stderr)
            continue
        sides = start_sides(options, commands, set(processors[:threads]), values)
        versions = {side.name: side.version for side in sides}
        for shape in chosen:
            if shape.threads == threads:
                rows.append(measure(shape, sides, options))
                print("| " + " | ".join(cells(rows[-1], names)) + " |", flush=True)
                if options.json:
                    report = {"versions": versions, "rows": rows}
                    pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
        for side in sides:
            side.close()
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main(shape_list.all_shapes(), ("PyTorch", "ONNX Runtime", "oneDNN", "TorchSharp"))
