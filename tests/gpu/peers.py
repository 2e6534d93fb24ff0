"""Measures the ceilings of a GPU and the attention kernels of PyTorch on it; run by hand or by tests/gpu/check.sh.

    python3 tests/gpu/peers.py --json FILE [--seconds N] [--only REGEX] [--library libfused_attention.so]

With a library its dense kernels take part as "fused_attention", and their outputs and gradients are compared with the first peer's.
Ceilings: a bf16 matrix product and a copy. Peers: scaled_dot_product_attention with its cuDNN and flash backends on dense shapes,
flex_attention on sparse ones, chunked products for linear attention. Contenders of one case alternate, each turn is the median of
several runs timed by events, and the figure is the median of the turns. The file is written after every case, with a table beside it
(FILE with .md), so that a run which is stopped keeps what it has; cases stand in order of importance and none is begun after N seconds.
Exit 1 when a case failed or none was measured.
"""

import argparse
import datetime
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from library import Library
from table import table

LIBRARY = None  # the one of --library
ROUNDS = 5
MILLISECONDS_A_TURN = 6.0
torch.backends.cuda.matmul.allow_tf32 = False


def milliseconds(run, repeats):
    """The median time of one run, by events around each."""
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for begin, end in events:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events)


def alternate(contenders):
    """{name: function} to {name: {"ms": median, "spread": (max - min) / median}}; one that refuses has {"refused": why}."""
    results, turns, repeats = {}, {}, {}
    for name, run in contenders.items():
        try:
            for _ in range(3):
                run()
            repeats[name] = max(3, min(50, math.ceil(MILLISECONDS_A_TURN / max(milliseconds(run, 3), 1e-3))))
            turns[name] = []
        except Exception as error:  # whatever a backend says when a shape is not for it
            results[name] = {"refused": str(error).strip().splitlines()[0][:200]}
    for _ in range(ROUNDS):
        for name in turns:
            turns[name].append(milliseconds(contenders[name], repeats[name]))
    for name, times in turns.items():
        median = statistics.median(times)
        results[name] = {"ms": median, "spread": (max(times) - min(times)) / median}
    return results


def random(*shape, grad=False, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype).requires_grad_(grad)


# --- Ceilings ----------------------------------------------------------------------------------------------------


def gemm(size):
    a, b = random(size, size), random(size, size)
    out = torch.empty_like(a)
    return {"flops": 2 * size**3, "contenders": {"matmul": lambda: torch.matmul(a, b, out=out)}}


def copy(size):
    source, target = torch.empty(size, device="cuda", dtype=torch.uint8).random_(), torch.empty(size, device="cuda", dtype=torch.uint8)
    return {"bytes": 2 * size, "contenders": {"copy": lambda: target.copy_(source)}}


# --- Dense attention ---------------------------------------------------------------------------------------------


def backward_of(forward, q, k, v):
    """A function that runs the backward alone, over one forward's graph."""
    out = forward()
    d_out = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, (q, k, v), d_out, retain_graph=True)


def dense(batch, heads, kv_heads, rows, keys, depth, causal, direction, backends=("cudnn", "flash")):
    training = direction == "backward"
    q = random(batch, heads, rows, depth, grad=training)
    k, v = (random(batch, kv_heads, keys, depth, grad=training) for _ in range(2))
    backend = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}

    def contender(name):
        def forward():
            with sdpa_kernel(backend[name]):
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads != kv_heads)

        return backward_of(forward, q, k, v) if training else forward

    def made(name):
        try:
            return contender(name)
        except Exception as error:
            reason = error
            return lambda: (_ for _ in ()).throw(reason)

    flops = 4 * batch * heads * rows * keys * depth * (0.5 if causal else 1) * (2.5 if training else 1)
    size = 2 * batch * depth * (2 * heads * rows + 2 * kv_heads * keys)
    case = {"flops": flops, "bytes": size, "contenders": {name: made(name) for name in backends}}
    if LIBRARY is not None:
        # PyTorch counts causal positions from the first query, the library from the last: with one query they differ.
        ours = LIBRARY.dense(q.detach(), k.detach(), v.detach(), causal, training)[1 if training else 0]
        case["contenders"]["fused_attention"] = ours
        case["compare"] = lambda: largest_difference(ours, training, backend["flash"], q, k, v, causal, heads != kv_heads)
    return case


def largest_difference(ours, training, backend, q, k, v, causal, grouped):
    """Between the library and a backend of PyTorch, over the largest of the backend's numbers."""
    with sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    return largest_of(ours, torch.autograd.grad(out, (q, k, v), ours.d_o) if training else [out], training)


def largest_of(ours, theirs, training):
    pairs = zip(ours() if training else [ours()], theirs)
    return max(((mine.float() - other.float()).abs().max() / other.float().abs().max()).item() for mine, other in pairs)


# --- Sparse attention: flex_attention -----------------------------------------------------------------------------

compiled_flex = torch.compile(flex_attention, dynamic=False)
compiled_mask = torch.compile(create_block_mask, dynamic=False)


def flex(batch, heads, kv_heads, length, depth, see, pairs, direction, by_head=False, ours=None):
    """pairs: how many (row, key) pairs of one head are seen; the share of blocks that flex visits stands in the result. ours: makes the
    library's functions of q, k, v and whether the backward is wanted."""
    training = direction == "backward"
    q = random(batch, heads, length, depth, grad=training)
    k, v = (random(batch, kv_heads, length, depth, grad=training) for _ in range(2))
    torch._dynamo.reset()  # the number of compiled forms of one function is limited
    mask = compiled_mask(see, None, heads if by_head else None, length, length, device="cuda")

    def forward():
        return compiled_flex(q, k, v, block_mask=mask, enable_gqa=heads != kv_heads)

    run = backward_of(forward, q, k, v) if training else forward
    flops = 4 * batch * heads * pairs * depth * (2.5 if training else 1)
    case = {"flops": flops, "visited_share": 1 - mask.sparsity() / 100, "contenders": {"flex": run}}
    if LIBRARY is not None and ours is not None:
        own = ours(q.detach(), k.detach(), v.detach(), training)[1 if training else 0]
        case["contenders"]["fused_attention"] = own

        def compare():
            out = forward()
            return largest_of(own, torch.autograd.grad(out, (q, k, v), own.d_o) if training else [out], training)

        case["compare"] = compare
    return case


def window_start(position, size, window):
    """Where a neighborhood's window begins: centred, and moved inside at a border."""
    return torch.clamp(position - window // 2, min=0, max=size - window)


def neighborhood(grid, window, heads, direction):
    strides = [math.prod(grid[axis + 1:]) for axis in range(len(grid))]
    length = math.prod(grid)

    def see(_batch, _head, row, key):
        inside = row >= 0
        for size, stride, reach in zip(grid, strides, window):
            start = window_start((row // stride) % size, size, reach)
            at = (key // stride) % size
            inside = inside & (at >= start) & (at < start + reach)
        return inside

    return flex(1, heads, heads, length, 128, see, length * math.prod(window), direction,
                ours=lambda q, k, v, training: LIBRARY.neighborhood(q, k, v, grid, window, training))


def s2(length, direction, heads=32, block=64, local=16, stride=16):
    """Local blocks and every stride-th block, moved on by the head."""

    def see(_batch, head, row, key):
        row_block, key_block = row // block, key // block
        return (row >= key) & ((row_block - key_block < local) | ((key_block + head) % stride == stride - 1))

    blocks = length // block
    seen = sum(1 for row in range(blocks) for key in range(row + 1) if row - key < local or (key % stride) == stride - 1)
    return flex(1, heads, heads, length, 128, see, seen * block * block - length * (block - 1) // 2, direction, by_head=True,
                ours=lambda q, k, v, training: LIBRARY.s2(q, k, v, block, local, stride, 1, training))


def blocks(length, share, direction, heads=32, kv_heads=8, block=128):
    """A random share of the causal blocks, as a selection of blocks leaves them; own blocks always."""
    count = length // block
    kept = torch.rand(heads, count, count, device="cuda") < share
    kept |= torch.eye(count, dtype=torch.bool, device="cuda")
    kept &= torch.ones(count, count, dtype=torch.bool, device="cuda").tril()

    def see(_batch, head, row, key):
        return kept[head, row // block, key // block] & (row >= key)

    pairs = kept.sum().item() / heads * block * block - length * (block - 1) / 2
    mask = kept.to(torch.uint8).unsqueeze(0).contiguous()
    return flex(1, heads, kv_heads, length, 128, see, pairs, direction, by_head=True,
                ours=lambda q, k, v, training: LIBRARY.blocks(q, k, v, block, mask, training))


def banded(length, window, direction, heads=16):
    def see(_batch, _head, row, key):
        return (row >= key) & (row - key < window)

    return flex(1, heads, heads, length, 128, see, length * window - window * (window - 1) // 2, direction)


# --- Linear attention ----------------------------------------------------------------------------------------------


def lightning(batch, heads, length, depth, chunk=128):
    """Decayed linear attention in chunks: batched products over all chunks, states carried by a loop over chunks."""
    q, k, v = (random(batch, heads, length // chunk, chunk, depth) for _ in range(3))
    slope = torch.exp2(-8 * torch.arange(1, heads + 1, device="cuda") / heads).view(heads, 1, 1)
    at = torch.arange(chunk, device="cuda")
    apart = (at[:, None] - at[None, :]).float()
    decay = torch.where(apart >= 0, torch.exp(-slope * apart), 0).to(q.dtype).view(1, heads, 1, chunk, chunk)
    before = torch.exp(-slope * (at + 1).view(chunk, 1)).to(q.dtype).view(1, heads, 1, chunk, 1)
    after = torch.exp(-slope * (chunk - 1 - at).view(chunk, 1)).to(q.dtype).view(1, heads, 1, chunk, 1)
    whole = torch.exp(-slope * chunk).view(1, heads, 1, 1)

    def forward():
        inside = (q @ k.transpose(-1, -2)) * decay @ v
        added = ((k * after).transpose(-1, -2) @ v).float()
        states, state = [], torch.zeros_like(added[:, :, 0])
        for index in range(added.shape[2]):
            states.append(state)
            state = state * whole + added[:, :, index]
        return inside + (q * before) @ torch.stack(states, 2).to(q.dtype)

    case = {"bytes": 2 * 4 * batch * heads * length * depth, "flops": 4 * batch * heads * length * depth * (chunk + depth),
            "contenders": {"chunked products": forward}}
    if LIBRARY is not None:
        ours = LIBRARY.lightning(*(x.view(batch, heads, length, depth) for x in (q, k, v)), slope.view(heads).contiguous())
        case["contenders"]["fused_attention"] = ours
        case["compare"] = lambda: largest_of(ours, [forward().view(batch, heads, length, depth)], False)
    return case


# --- The list ------------------------------------------------------------------------------------------------------


def cases():
    """(name, function that makes the case), most important first."""
    yield "ceiling gemm bf16 8192", lambda: gemm(8192)
    yield "ceiling copy 4 GiB", lambda: copy(4 << 30)
    for direction in ("forward", "backward"):
        for depth in (128, 64, 256):
            for length in (512, 1024, 2048, 4096, 8192, 16384):
                for causal in (False, True):
                    shape = (16384 // length, 2048 // depth, 2048 // depth, length, length, depth, causal, direction)
                    yield f"dense D{depth} S{length} {'causal' if causal else 'full'} {direction}", lambda shape=shape: dense(*shape)
    for direction in ("forward", "backward"):
        for length in (2048, 8192, 32768):
            for causal in (False, True):
                shape = (1, 64, 8, length, length, 128, causal, direction)
                yield f"dense GQA 64/8 D128 S{length} {'causal' if causal else 'full'} {direction}", lambda shape=shape: dense(*shape)
    for batch, length in ((1, 32768), (16, 8192), (64, 4096)):
        shape = (batch, 32, 8, 1, length, 128, False, "forward")
        yield f"decode GQA 32/8 D128 B{batch} S{length}", lambda shape=shape: dense(*shape)
    yield "lightning B4 H32 32768 D128 forward", lambda: lightning(4, 32, 32768, 128)
    for direction in ("forward", "backward"):
        yield f"neighborhood 1-D 32768 window 2048 {direction}", lambda d=direction: neighborhood((32768,), (2048,), 1, d)
        yield f"S2 32768 block 64 local 16 stride 16 {direction}", lambda d=direction: s2(32768, d)
        yield f"blocks 32768 of 128, a quarter kept, GQA 32/8 {direction}", lambda d=direction: blocks(32768, 0.25, d)
        yield f"neighborhood 2-D 256x256 window 80x80, 24 heads {direction}", lambda d=direction: neighborhood((256, 256), (80, 80), 24, d)
        yield f"window 16384, 1024 back {direction}", lambda d=direction: banded(16384, 1024, d)
    yield "neighborhood 3-D 30x48x80 window 18x24x24, 24 heads forward", lambda: neighborhood((30, 48, 80), (18, 24, 24), 24, "forward")


def machine():
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total,clocks.sm,clocks.mem", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    return {"device": properties.name, "multiprocessors": properties.multi_processor_count, "l2_bytes": properties.L2_cache_size,
            "driver, memory, clocks at start": driver, "torch": torch.__version__, "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(), "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def write(report, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    pathlib.Path(path).with_suffix(".md").write_text(table(report), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, help="file to write")
    parser.add_argument("--seconds", type=float, default=1e9, help="no case begins after this many")
    parser.add_argument("--only", default="", help="regular expression of cases to run")
    parser.add_argument("--library", help="library file whose kernels take part")
    options = parser.parse_args()
    if options.library:
        global LIBRARY
        LIBRARY = Library(options.library)

    began = time.monotonic()
    report = {"machine": machine(), "rounds": ROUNDS, "cases": {}, "not begun": []}
    for name, make in cases():
        if not re.search(options.only, name):
            continue
        if time.monotonic() - began > options.seconds:
            report["not begun"].append(name)
            continue
        start = time.monotonic()
        try:
            case = make()
            compare = case.pop("compare", None)
            results = alternate(case.pop("contenders"))
            if compare is not None:
                case["difference"] = compare()
            for result in results.values():
                if "ms" in result:
                    result |= {unit: case[count] / result["ms"] / divisor for unit, count, divisor in
                               (("tflops", "flops", 1e9), ("gb_per_s", "bytes", 1e6)) if count in case}
            report["cases"][name] = case | {"results": results}
        except Exception as error:
            report["cases"][name] = {"failed": str(error).strip().splitlines()[0][:300]}
        torch.cuda.empty_cache()
        shown = "  ".join(f"{peer} {r['ms']:.3f} ms {r.get('tflops', 0):.0f} TFLOP/s {r.get('gb_per_s', 0):.0f} GB/s ±{r['spread'] * 50:.0f}%" if "ms" in r
                          else f"{peer} refused: {r['refused'][:60]}" for peer, r in report["cases"][name].get("results", {}).items())
        if "difference" in report["cases"][name]:
            shown += f"  differs by {report['cases'][name]['difference']:.1e}"
        print(f"{name}: {shown or report['cases'][name]}  [{time.monotonic() - start:.1f} s]", flush=True)
        report["seconds"] = time.monotonic() - began
        write(report, options.json)
    write(report, options.json)
    print(table(report), end="")
    failed = [name for name, case in report["cases"].items() if "failed" in case]
    return 1 if failed or not report["cases"] else 0


if __name__ == "__main__":
    sys.exit(main())
