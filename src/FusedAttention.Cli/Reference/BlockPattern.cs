// Patterns of kept blocks: the S2 pattern in closed form, or a given mask; used by the block reference.
using System;

namespace FusedAttention.Cli.Reference;

/// <param name="BlockSize">Tokens of a block, queries and keys alike.</param>
/// <param name="Causal">Whether tokens after the row's position are hidden.</param>
/// <param name="IsKept">Asked with batch, query head, block of the row's position, block of the key's slot.</param>
internal sealed record BlockPattern(long BlockSize, bool Causal, Func<long, long, long, long, bool> IsKept)
{
    /// <summary>[B, Hq, Lk]: the token of each slot; null when every token has its own.</summary>
    internal int[]? Permutation { get; init; }

    /// <summary>A mask of kept blocks, [B, Hq, nQ, nK], over permuted keys.</summary>
    internal static BlockPattern Given(
        AttentionShape shape, long blockSize, bool causal, int[]? permutation, byte[] mask)
    {
        long columns = (shape.KeyLength + blockSize - 1) / blockSize;
        long rows = (shape.QueryLength + blockSize - 1) / blockSize;
        long firstRow = (shape.KeyLength - shape.QueryLength) / blockSize;
        return new BlockPattern(blockSize, causal, IsKept) { Permutation = permutation };

        bool IsKept(long batch, long head, long queryBlock, long keyBlock)
        {
            long row = (((batch * shape.QueryHeads) + head) * rows) + queryBlock - firstRow;
            return mask[(row * columns) + keyBlock] != 0;
        }
    }

    /// <summary>Local blocks and, strided, distant ones: another residue for each head.</summary>
    internal static BlockPattern S2(AttentionShape shape, S2Pattern pattern)
    {
        long heads = shape.QueryHeads;
        long numPatterns = pattern.PerQueryHead ? heads : shape.KeyHeads;
        long step = pattern.Homogeneous ? 0 : Math.Max(1, pattern.VerticalStride / heads);
        return new BlockPattern(pattern.BlockSize, pattern.Causal, (_, head, queryBlock, keyBlock) =>
        {
            long own = pattern.PerQueryHead ? head : head * shape.KeyHeads / heads;
            bool isDense = !pattern.Homogeneous && own >= numPatterns - pattern.DenseHeads;
            if (!pattern.Causal)
            {
                long before = Math.Max(0, queryBlock - keyBlock - pattern.LocalBlocks + 1);
                long after = Math.Max(0, keyBlock - queryBlock - pattern.LocalBlocks + 1);
                return isDense || (before + after) % pattern.VerticalStride == 0;
            }

            bool isLocal = queryBlock - keyBlock < pattern.LocalBlocks;
            bool isOwnShard = (keyBlock + (own * step) + pattern.HeadOffset) % pattern.VerticalStride == 0;
            return keyBlock <= queryBlock && (isDense || isLocal || isOwnShard);
        });
    }
}

/// <summary>The fields of the S2 pattern, as in a problem file.</summary>
internal sealed record S2Pattern(long BlockSize, long LocalBlocks, long VerticalStride)
{
    internal long HeadOffset { get; init; }

    internal bool PerQueryHead { get; init; }

    internal long DenseHeads { get; init; }

    internal bool Homogeneous { get; init; }

    internal bool Causal { get; init; } = true;
}
