"""The shapes that compare.py measures, with their work in operations or bytes."""

import array
import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Shape:
    """One dense attention problem; lengths in tokens."""

    name: str
    q_heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    causal: bool
    backward: bool
    dtype: str
    threads: int
    window: int = 0  # keys that a row of a causal problem sees at most, its own included; 0: all

    # In which PyTorch is asked; torch_worker.py reads them.
    torch_ways = ("sdpa", "sdpa, group folded", "operations", "operations in blocks", "operations in bands", "sdpa in bands",
                  "flex, compiled")

    @property
    def decode(self):
        return self.q_len == 1

    @property
    def unit(self):
        return "GB/s" if self.decode else "GFLOP/s"

    def work(self):
        """Bytes of keys and values for decode; else operations of the visible pairs, 4 D forward and 10 D backward."""
        if self.decode:
            return 2 * self.kv_heads * self.kv_len * self.head_dim * (4 if self.dtype == "f32" else 2)
        pairs = self.q_len * (self.q_len + 1) / 2 if self.causal else self.q_len * self.kv_len
        if self.window:
            pairs -= (self.q_len - self.window) * (self.q_len - self.window + 1) / 2
        return pairs * self.q_heads * self.head_dim * (10 if self.backward else 4)

    def title(self):
        return f"{self.name}/d{self.head_dim}/{self.dtype}/threads{self.threads}"


def all_shapes():
    """Long, middle and short self-attention, a window, training, and decode against a long and a middle cache."""
    shapes = []
    for heads, length in ((1, 4096), (8, 1024), (48, 512)):
        for causal in (False, True):
            for head_dim in (64, 128):
                for dtype in ("f32", "bf16"):
                    name = f"s{length}_h{heads}" + ("_causal" if causal else "")
                    shapes.append(Shape(name, heads, heads, length, length, head_dim, causal, False, dtype, 1))
    for head_dim in (64, 128):
        for dtype in ("f32", "bf16"):
            shapes.append(
                Shape("s4096_h8_window256", 8, 8, 4096, 4096, head_dim, True, False, dtype, 1, window=256))
    for causal in (False, True):
        for head_dim in (64, 128):
            for dtype in ("f32", "bf16"):
                name = "backward_s4096_h1" + ("_causal" if causal else "")
                shapes.append(Shape(name, 1, 1, 4096, 4096, head_dim, causal, True, dtype, 1))
    for kv_len in (32768, 4096):
        for threads in (1, 2):
            for dtype in ("f32", "bf16"):
                shapes.append(Shape(f"decode_h32_8_k{kv_len}", 32, 8, 1, kv_len, 128, False, False, dtype, threads))
    return shapes


def values():
    """A table of unit-normal numbers every side fills its tensors from, so that all compute the same thing.

    Its length is a prime: rows of no head dim repeat within a tile.
    """
    generator = random.Random(20)
    return array.array("f", (generator.gauss(0, 1) for _ in range(65521)))


# Where each tensor starts in the table; element i is table[(start + i) % length], bf16 by dropping low bits.
STARTS = {"q": 0, "k": 7919, "v": 30011, "d_o": 50021}
# Elements of the result ([Hq, Lq, D] or, backward, d_q) that every side reports.
NUM_SAMPLES = 257
