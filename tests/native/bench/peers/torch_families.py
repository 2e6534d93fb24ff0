"""How PyTorch is asked for neighborhood, block-sparse and linear attention; compare.py starts torch_worker.py with this text before it.

PyTorch has none of them as one operation for a CPU, so each is composed of its products as a careful user would: rows in tiles, the keys
a tile sees gathered, masks made beforehand.
"""

import math

import torch
import torch.nn.functional as F


def attend(way, q, k, v, scale, hidden):
    """Softmax attention of a batch of tiles by one operation or by three."""
    if way == "sdpa":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=hidden, scale=scale)
    scores = (q * scale) @ k.transpose(-1, -2)
    if hidden is not None:
        scores = scores + hidden
    return torch.softmax(scores, -1) @ v


def axis_tiles(extent, kernel, tile):
    """Along one axis: queries [T, t], keys of a box that holds all their windows [T, n], what each query sees [T, t, n]."""
    reach = min(extent, tile + kernel - 1)
    queries = torch.arange(extent).view(-1, tile)
    box = (queries[:, :1] - kernel // 2).clamp(0, extent - reach)
    keys = box + torch.arange(reach)
    first = (queries - kernel // 2).clamp(0, extent - kernel)
    seen = (keys[:, None] >= first[..., None]) & (keys[:, None] < first[..., None] + kernel)
    return queries, keys, seen


def product_of(axes, extents, part):
    """Token numbers [tiles, tokens of a tile] of what stands at `part` of each axis."""
    total = torch.zeros(1, 1, dtype=torch.long)
    for axis, extent in zip(axes, extents):
        one = axis[part]
        total = (total[:, None, :, None] * extent + one[None, :, None, :]).flatten(2).flatten(0, 1)
    return total


def neighborhood(variant, shape, q, k, v):
    """Tiles of a grid against the box of keys they see: 'tiles of N, M at once, sdpa|operations'."""
    words = variant.split()
    tile, at_once, way = int(words[2].strip(",")), int(words[3]), words[-1]
    grid, kernel = shape["grid"], shape["kernel"]
    if any(extent % tile for extent in grid):
        return None
    axes = [axis_tiles(extent, size, tile) for extent, size in zip(grid, kernel)]
    queries, keys = product_of(axes, grid, 0), product_of(axes, grid, 1)
    seen = torch.ones(1, 1, 1, dtype=torch.bool)
    for axis in axes:
        one = axis[2]
        seen = (seen[:, None, :, None, :, None] & one[None, :, None, :, None, :]).flatten(4).flatten(2, 3).flatten(0, 1)
    hidden = torch.zeros(seen.shape, dtype=q.dtype).masked_fill_(~seen, -math.inf)
    scale = shape["head_dim"] ** -0.5
    steps = range(0, len(queries), at_once)

    def forward():
        parts = [attend(way, q[:, :, queries[n:n + at_once]], k[:, :, keys[n:n + at_once]], v[:, :, keys[n:n + at_once]], scale,
                        hidden[n:n + at_once]) for n in steps]
        out = torch.empty_like(q)
        out[:, :, queries.flatten()] = torch.cat([part.flatten(2, 3) for part in parts], 2)
        return out

    return forward


def block_rows(variant, shape, q, k, v):
    """A row of query blocks of one head against its kept blocks, gathered: 'blocks, sdpa|operations'."""
    way, block, group = variant.split()[-1], shape["block"], shape["q_heads"] // shape["kv_heads"]
    scale = shape["head_dim"] ** -0.5
    later = torch.zeros(block, block, dtype=q.dtype).masked_fill_(torch.ones(block, block, dtype=torch.bool).triu(1), -math.inf)
    rows = []
    for head, mask in enumerate(block_mask(shape)):
        for row, kept in enumerate(mask):
            blocks = torch.tensor([n for n, keep in enumerate(kept) if keep])
            hidden = torch.zeros(block, block * len(blocks), dtype=q.dtype)
            hidden[:, -block:] = later
            rows.append((head, row, blocks, hidden))

    def forward():
        out = torch.empty_like(q)
        keys, values = (x[0].view(shape["kv_heads"], -1, block, shape["head_dim"]) for x in (k, v))
        for head, row, blocks, hidden in rows:
            place = slice(row * block, (row + 1) * block)
            gathered = (x[head // group].index_select(0, blocks).flatten(0, 1)[None] for x in (keys, values))
            out[0, head, place] = attend(way, q[0, head, place][None], *gathered, scale, hidden)[0]
        return out

    return forward


def lightning(variant, shape, q, k, v):
    """Chunks whose inside is one masked product and whose past is a state: 'chunks of N'."""
    size, heads, depth = int(variant.split()[-1]), shape["q_heads"], shape["head_dim"]
    slopes = torch.tensor(lightning_slopes(heads))[:, None]
    place = torch.arange(size)
    steps = (place[:, None] - place[None, :]).clamp(min=0)
    inside = torch.exp(-slopes[..., None] * steps).tril() * lightning_scale(shape)
    before = (torch.exp(-slopes * (place + 1)) * lightning_scale(shape))[:, None, :, None].to(q.dtype)
    behind = torch.exp(-slopes * (size - 1 - place))[:, None, :, None].to(q.dtype)
    inside, decay = inside[:, None].to(q.dtype), torch.exp(-slopes * size)[..., None]

    def forward():
        rows, keys, values = (x[0].view(heads, -1, size, depth) for x in (q, k, v))
        own = ((rows @ keys.transpose(-1, -2)) * inside) @ values
        added = ((keys * behind).transpose(-1, -2) @ values).float()
        state, states = torch.zeros(heads, depth, depth), []
        for chunk in added.unbind(1):
            states.append(state)
            state = state * decay + chunk
        return (own + (rows * before) @ torch.stack(states, 1).to(q.dtype)).view(q.shape)

    return forward


def family_forward(variant, shape, q, k, v):
    ways = {"neighborhood": neighborhood, "s2": block_rows, "permuted_block": block_rows, "lightning": lightning}
    return ways[shape["family"]](variant, shape, q, k, v)
