"""Runs the golden cases of this folder through the fattn tool and compares every expected tensor; called by the golden leg.

    /usr/bin/python3 tests/golden/check.py --tool "COMMAND" [--dtype f32|f16|bf16] [--case NAME] [--family NAME] [--device cpu|cuda[:N]]
    /usr/bin/python3 tests/golden/check.py --self-test     proves that wrong results are rejected

A case is <family>/<name>.json (problem, tolerances) with <name>.safetensors: the inputs, and results in float64 rounded to
float32 under the names expect.*. Exit status 0 when everything agreed.
"""
import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

import numpy as np

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import safetensors  # noqa: E402

# Inputs that are stored in the tested type; all others (biases, slopes, lengths, dlse) keep theirs.
FOLLOW_DTYPE = {"q", "k", "v", "do", "additional_k", "additional_v"}
# Largest error divided by the largest expected magnitude. In f32 each case carries its own; 16-bit storage adds the
# rounding of inputs, of the weights between the two products, and of the output.
LOW_PRECISION = {
    "f16": {"o": 2.5e-3, "lse": 1e-3, "gradient": 6e-3},
    "bf16": {"o": 1.6e-2, "lse": 4e-3, "gradient": 3e-2},
}
# Linear attention has no softmax to even errors out: the same for output and final state, half as much again for gradients.
LINEAR_LOW_PRECISION = {"f16": 4e-3, "bf16": 2e-2}


def load_cases(wanted, family="*"):
    for description in sorted(HERE.glob(f"{family}/*.json")):
        if wanted in (None, description.stem):
            tensors = safetensors.load(description.with_suffix(".safetensors"))
            inputs = {name: array for name, array in tensors.items() if not name.startswith("expect.")}
            expected = {name[len("expect."):]: array for name, array in tensors.items() if name.startswith("expect.")}
            yield description.stem, json.loads(description.read_text()), inputs, expected


def tolerance(case, name, dtype):
    # Indices and masks are exact: the inputs of their cases are exact in every storage type.
    if dtype == "f32" or case["tolerance"][name] == 0:
        return case["tolerance"][name]
    if case["problem"]["family"] == "lightning":
        return max(LINEAR_LOW_PRECISION[dtype] * (1.5 if name.startswith("d") else 1), case["tolerance"][name])
    kind = name if name in ("o", "lse") else "gradient"
    return max(LOW_PRECISION[dtype][kind], case["tolerance"][name])


def difference(expected, found, limit):
    """None when found agrees with expected; otherwise what is wrong, the worst place first."""
    if found is None:
        return "missing from the output"
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    for what, test in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
        wrong = np.argwhere(test(expected) != test(found))
        if len(wrong):
            at = tuple(int(index) for index in wrong[0])
            return f"{what} differs at {len(wrong)} places, first {at}: {found[at]}, expected {expected[at]}"
    finite = np.isfinite(expected)
    if not finite.any():
        return None
    error = np.where(finite, np.abs(np.where(finite, found, 0) - np.where(finite, expected, 0)), 0)
    at = np.unravel_index(int(error.argmax()), error.shape)
    relative = error[at] / max(np.abs(expected[finite]).max(), 1e-6)
    if relative <= limit:
        return None
    return f"error {relative:.2e} > {limit:.1e} at {tuple(map(int, at))}: {found[at]:.7g}, expected {expected[at]:.7g}"


def run_tool(command, problem, inputs, dtype, device):
    with tempfile.TemporaryDirectory() as folder:
        files = [str(pathlib.Path(folder, name)) for name in ("problem.json", "in.safetensors", "out.safetensors")]
        pathlib.Path(files[0]).write_text(json.dumps(problem))
        cast = {name for name in inputs if name in FOLLOW_DTYPE} if dtype != "f32" else set()
        stored = {name: array.astype(np.float16) if dtype == "f16" and name in cast else array
                  for name, array in inputs.items()}
        safetensors.save(files[1], stored, as_bf16=cast if dtype == "bf16" else ())
        result = subprocess.run(
            shlex.split(command) + ["run", files[0], "--input", files[1], "--output", files[2], "--device", device],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"exit status {result.returncode}: {result.stdout.strip()[-400:]}")
        return safetensors.load(files[2])


def self_test():
    """Every kind of wrong result must be seen, and the right one accepted."""
    failed = 0
    for name, case, _, expected in load_cases(None):
        for tensor, right in expected.items():
            limit = tolerance(case, tensor, "f32")
            finite = np.argwhere(np.isfinite(right))
            at = tuple(finite[len(finite) // 2])
            moved, undefined, flat = right.copy(), right.copy(), right.reshape(-1)
            moved[at] += 3 * limit * np.abs(right[np.isfinite(right)]).max() if limit else 1
            if right.dtype.kind == "f":
                undefined[at] = np.nan
            else:
                undefined[at] = 77
            verdicts = [difference(right, right, limit) is None, difference(right, moved, limit) is not None,
                        difference(right, undefined, limit) is not None, difference(right, flat, limit) is not None,
                        difference(right, None, limit) is not None]
            if np.isneginf(right).any():
                verdicts.append(difference(right, np.where(np.isneginf(right), 0, right), limit) is not None)
            if not all(verdicts):
                print(f"{name}/{tensor}: verdicts {verdicts}, all should be true")
                failed += 1
    return failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tool", help="how fattn is started")
    arguments.add_argument("--dtype", choices=("f32", "f16", "bf16"), default="f32")
    arguments.add_argument("--case", help="only the case of this name")
    arguments.add_argument("--family", default="*", help="only cases of this family")
    arguments.add_argument("--device", default="cpu", help="where fattn computes")
    arguments.add_argument("--self-test", action="store_true")
    options = arguments.parse_args()
    if options.self_test:
        return 1 if self_test() else 0
    if not options.tool:
        arguments.error("--tool is needed")

    passed = failed = 0
    for name, case, inputs, expected in load_cases(options.case, options.family):
        try:
            found = run_tool(options.tool, case["problem"], inputs, options.dtype, options.device)
            wrong = {tensor: text for tensor, right in expected.items()
                     if (text := difference(right, found.get(tensor), tolerance(case, tensor, options.dtype)))}
        except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            wrong = {"run": str(error)}
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print("FAIL" if wrong else "ok  ", options.dtype, name)
        for tensor, text in wrong.items():
            print(f"       {tensor}: {text}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
