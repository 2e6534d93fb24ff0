"""Runs attention in PyTorch for compare.py, which starts it with its Python and speaks JSON lines to it.

Started with the text of patterns.py and torch_families.py before it.
"""

import base64
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

ROW_BLOCK = 256  # divides every length measured
BAND_BLOCK = 128
table = {}
opened = {}


def tensor(start, heads, length, depth, dtype):
    """[1, H, L, D] from the table of numbers."""
    source = table[dtype]
    index = torch.arange(start, start + heads * length * depth).remainder_(len(source))
    return source[index].view(1, heads, length, depth)


def hidden_pairs(rows, keys, window, dtype):
    """What is added to causal scores of these positions: -inf where the key comes later or window or more before."""
    steps_back = rows[:, None] - keys[None, :]
    hidden = (steps_back < 0) | (keys[None, :] < 0)
    if window:
        hidden |= steps_back >= window
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -math.inf)


def in_blocks(q, k, v, scale, causal, window):
    """Separate operations on blocks of rows whose scores stay in a cache; keys that a whole block hides are left out."""
    keys, values = k[0].transpose(-1, -2), v[0]
    out = torch.empty_like(q)
    length = q.shape[2]
    reach = window if window else 0
    rows = torch.arange(reach, reach + ROW_BLOCK)
    hidden = hidden_pairs(rows, torch.arange(reach + ROW_BLOCK), window, q.dtype)
    nothing = torch.empty((), dtype=q.dtype)
    for begin in range(0, length, ROW_BLOCK):
        end = begin + ROW_BLOCK
        first, seen = (max(0, begin - window) if window else 0), (end if causal else length)
        scores = torch.baddbmm(nothing, q[0, :, begin:end], keys[:, :, first:seen], beta=0, alpha=scale)
        if window:
            scores += hidden[:, first - seen:]
        elif causal:
            scores[:, :, begin:] += hidden
        out[0, :, begin:end] = torch.bmm(torch.softmax(scores, -1), values[:, first:seen])
    return out


def in_bands(q, k, v, window, attend):
    """attend(rows, keys, values, hidden) on all blocks of rows at once, each with the keys that its window reaches."""
    heads, length, depth = q.shape[1:]
    blocks, reach = length // BAND_BLOCK, window + BAND_BLOCK
    positions = torch.arange(length).view(blocks, BAND_BLOCK)
    hidden = torch.stack([hidden_pairs(p, torch.arange(p[0] - window, p[0] + BAND_BLOCK), window, q.dtype)
                          for p in positions])
    rows = q.view(heads, blocks, BAND_BLOCK, depth)

    def bands(x):
        return F.pad(x[0], (0, 0, window, 0)).unfold(1, reach, BAND_BLOCK).transpose(-1, -2)

    return lambda: attend(rows, bands(k), bands(v), hidden).view(q.shape)


def compiled_flex(q, k, v, window):
    """Flex attention; compiling it needs a C++ compiler."""
    length = q.shape[2]
    mask = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < window), None, None, length, length, device="cpu")
    compiled = torch.compile(flex_attention)
    return lambda: compiled(q, k, v, block_mask=mask)


def windowed(variant, q, k, v, scale, window):
    """As forward_of, for causal attention to the last keys of a window."""
    if variant == "sdpa":
        positions = torch.arange(q.shape[2])
        hidden = hidden_pairs(positions, positions, window, q.dtype)
        return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
    if variant == "operations in blocks":
        return lambda: in_blocks(q, k, v, scale, True, window)
    if variant == "operations in bands":
        return in_bands(q, k, v, window, lambda rows, keys, values, hidden: torch.softmax(
            (rows * scale) @ keys.transpose(-1, -2) + hidden, -1) @ values)
    if variant == "sdpa in bands":
        return in_bands(q, k, v, window, lambda rows, keys, values, hidden: F.scaled_dot_product_attention(
            rows, keys, values, attn_mask=hidden))
    if variant == "flex, compiled":
        return compiled_flex(q, k, v, window)
    return None


def forward_of(variant, shape, q, k, v):
    """A function that runs the variant forward on q, k and v; None where the variant does not exist."""
    if "family" in shape:
        return family_forward(variant, shape, q, k, v)
    scale = shape["head_dim"] ** -0.5
    grouped = shape["q_heads"] != shape["kv_heads"]
    if shape["window"]:
        return windowed(variant, q, k, v, scale, shape["window"])
    folded = (1, shape["kv_heads"], shape["q_heads"] // shape["kv_heads"] * shape["q_len"], shape["head_dim"])
    if variant == "sdpa":
        causal = shape["causal"]
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    if variant == "sdpa, group folded" and grouped:
        return lambda: F.scaled_dot_product_attention(q.view(folded), k, v)
    if variant == "operations in blocks" and not grouped and not shape["backward"]:
        return lambda: in_blocks(q, k, v, scale, shape["causal"], 0)
    if variant == "operations":
        rows = q.view(folded) if grouped else q
        if not shape["causal"]:
            return lambda: torch.softmax((rows * scale) @ k.transpose(-1, -2), -1) @ v
        hidden = torch.full((shape["q_len"], shape["kv_len"]), -math.inf, dtype=q.dtype).triu(1)
        return lambda: torch.softmax((rows * scale) @ k.transpose(-1, -2) + hidden, -1) @ v
    return None


def open_variant(m):
    shape, starts = m["shape"], m["starts"]
    hq, hk, lq, lk, d = (shape[n] for n in ("q_heads", "kv_heads", "q_len", "kv_len", "head_dim"))
    q = tensor(starts["q"], hq, lq, d, shape["dtype"]).requires_grad_(shape["backward"])
    k = tensor(starts["k"], hk, lk, d, shape["dtype"]).requires_grad_(shape["backward"])
    v = tensor(starts["v"], hk, lk, d, shape["dtype"]).requires_grad_(shape["backward"])
    forward = forward_of(m["variant"], shape, q, k, v)
    if forward is None:
        return {"error": "does not apply"}
    step = forward
    if shape["backward"]:
        d_o = tensor(starts["d_o"], hq, lq, d, shape["dtype"])
        o = forward()

        # The backward alone: the graph of one forward is kept and walked again.
        def step():
            return torch.autograd.grad(o, (q, k, v), d_o, retain_graph=True)[0]

    result = step().detach().float().flatten()
    places = [n * (len(result) - 1) // (m["samples"] - 1) for n in range(m["samples"])]
    opened[m["variant"]] = step
    return {"sample": result[places].tolist()}


def run(m):
    step = opened[m["variant"]]
    step()  # not timed, as on every side: see timed() in memory.py
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for _ in range(m["times"]):
        step()
    return {"wall": (time.perf_counter() - begin) / m["times"], "cpu": (time.process_time() - begin_cpu) / m["times"]}


def answer(m):
    if m["do"] == "start":
        torch.set_num_threads(m["threads"])
        values = torch.frombuffer(bytearray(base64.b64decode(m["values"])), dtype=torch.float32)
        table["f32"] = values
        table["bf16"] = (values.view(torch.int32) >> 16).to(torch.int16).view(torch.bfloat16)
        return {"version": torch.__version__}
    if m["do"] == "open":
        return open_variant(m)
    if m["do"] == "run":
        return run(m)
    opened.clear()
    return {}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reply = {"error": str(error).partition("\n")[0]}
    print(json.dumps(reply), flush=True)
