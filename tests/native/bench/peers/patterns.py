"""Patterns of the families' cases as formulas, so that no process sends another a mask.

families.py imports it; compare.py starts workers with this text before their own.
"""


def lightning_slopes(heads):
    """Decay per token and head: half of what the head before has, from 1/2 on."""
    return [0.5 ** (head + 1) for head in range(heads)]


def lightning_scale(shape):
    return 1.0 / shape["head_dim"]


def keeps_block(shape, head, row, key):
    """Whether query block `row` of a head sees key block `key` (within a block causality decides)."""
    if key > row:
        return False
    if shape["family"] == "s2":
        step = max(1, shape["stride"] // shape["q_heads"])
        return row - key < shape["local"] or (key + head * step + 1) % shape["stride"] == 0
    return row // 2 == key // 2 or key == 0 or (7 * key + 13 * row + 5 * head) % shape["stride"] == 0


def block_mask(shape):
    """[Hq][query blocks][key blocks] of 0 and 1."""
    blocks = range(shape["q_len"] // shape["block"])
    return [[[int(keeps_block(shape, head, row, key)) for key in blocks] for row in blocks] for head in range(shape["q_heads"])]


def torch_ways(family):
    """The ways in which PyTorch is asked for a family; torch_families.py reads them."""
    if family == "neighborhood":
        return [f"tiles of {tile}, {at_once} at once, {way}" for tile in (4, 8, 16) for at_once in (16, 1 << 20)
                for way in ("sdpa", "operations")]
    if family == "lightning":
        return [f"chunks of {size}" for size in (32, 64, 128, 256)]
    return ["blocks, sdpa", "blocks, operations"]
