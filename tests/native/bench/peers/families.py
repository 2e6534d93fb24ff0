#!/usr/bin/env python3
"""Measures neighborhood, block-sparse, S2 and linear attention against PyTorch in one run; started by hand, see native/README.md.

The sides, their turns and the checks of results are those of compare.py, whose options it takes; rates count what is needed: the pairs
that the pattern shows, or 4 D operations a token and column of a state.
"""

import dataclasses
import math
import sys

sys.dont_write_bytecode = True  # the folder of the sources stays as it is
import compare
import patterns


@dataclasses.dataclass(frozen=True)
class FamilyShape:
    """One problem of a family; fields that its family has no use for stay empty."""

    family: str
    name: str
    q_heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    backward: bool
    dtype: str
    threads: int = 1
    grid: tuple = ()
    kernel: tuple = ()
    block: int = 0
    local: int = 0
    stride: int = 0
    decode = False
    unit = "GFLOP/s"

    @property
    def torch_ways(self):
        return patterns.torch_ways(self.family)

    def work(self):
        """Operations of the pairs that are seen, 4 D forward and 10 D backward; linear: 4 D a token and column, 3 times that."""
        if self.family == "lightning":
            return (12 if self.backward else 4) * self.head_dim ** 2 * self.q_len * self.q_heads
        if self.family == "neighborhood":
            pairs = self.q_len * math.prod(self.kernel) * self.q_heads
        else:
            blocks = sum(sum(row) for head in patterns.block_mask(vars(self)) for row in head)
            hidden = self.q_heads * self.q_len * (self.block - 1) / 2
            pairs = blocks * self.block ** 2 - hidden
        return pairs * self.head_dim * (10 if self.backward else 4)

    def title(self):
        return f"{self.family}/{self.name}/d{self.head_dim}/{self.dtype}/threads{self.threads}"


def all_shapes():
    """Windows of two and three axes, the Phi-3-small pattern, a quarter of the blocks, and linear attention."""
    result = []
    for dtype in ("f32", "bf16"):
        for head_dim in (64, 128):
            result += [FamilyShape("neighborhood", "13x13 of 128x128", 2, 2, 16384, 16384, head_dim, False, dtype,
                                   grid=(128, 128), kernel=(13, 13)),
                       FamilyShape("neighborhood", "5x7x7 of 16x32x32", 2, 2, 16384, 16384, head_dim, False, dtype,
                                   grid=(16, 32, 32), kernel=(5, 7, 7))]
        result += [FamilyShape("s2", "phi3", 8, 2, 8192, 8192, 128, False, dtype, block=64, local=16, stride=8),
                   FamilyShape("permuted_block", "a quarter", 4, 4, 8192, 8192, 128, False, dtype, block=128, stride=4)]
        for head_dim in (64, 128):
            result.append(FamilyShape("lightning", "16384", 8, 8, 16384, 16384, head_dim, False, dtype))
        for backward in (FamilyShape("lightning", "backward 16384", 8, 8, 16384, 16384, 128, True, dtype),
                         FamilyShape("neighborhood", "backward 13x13 of 128x128", 2, 2, 16384, 16384, 64, True, dtype,
                                     grid=(128, 128), kernel=(13, 13)),
                         FamilyShape("s2", "backward phi3", 8, 2, 8192, 8192, 128, True, dtype, block=64, local=16, stride=8)):
            result.append(backward)
    return result


if __name__ == "__main__":
    compare.main(all_shapes(), ("PyTorch",))
