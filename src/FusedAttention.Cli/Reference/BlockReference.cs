// Who sees whom when whole blocks of keys are kept or dropped, for the double-precision rows of demo and bench.
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;

namespace FusedAttention.Cli.Reference;

/// <summary>
/// Queries are the last Lq of Lk positions. A row sees a token when the block of the token's slot is kept for the row's
/// block and, with causality, the token is not past the row's position.
/// </summary>
internal sealed class BlockReference : SoftmaxReference
{
    private readonly BlockPattern _pattern;
    private readonly ConcurrentDictionary<(long, long), int[]> _slots = new();

    internal BlockReference(AttentionShape shape, BlockPattern pattern, float? scale, ReferenceData data)
        : base(shape, scale, data)
    {
        _pattern = pattern;
    }

    internal override long[] VisibleKeys(long batch, long head, long row)
    {
        List<long> keys = [];
        for (long key = 0; key < Shape.KeyLength; ++key)
        {
            if (IsVisible(batch, head, row, key))
            {
                keys.Add(key);
            }
        }

        return [.. keys];
    }

    internal override bool IsVisible(long batch, long head, long row, long key)
    {
        long position = row + Shape.KeyLength - Shape.QueryLength;
        long slot = _pattern.Permutation is null ? key : Slots(batch, head)[key];
        return (!_pattern.Causal || key <= position)
            && _pattern.IsKept(batch, head, position / _pattern.BlockSize, slot / _pattern.BlockSize);
    }

    // The inverse of one head's permutation: the slot of each token.
    private int[] Slots(long batch, long head) => _slots.GetOrAdd((batch, head), _ =>
    {
        long begin = ((batch * Shape.QueryHeads) + head) * Shape.KeyLength;
        ReadOnlySpan<int> tokens = _pattern.Permutation.AsSpan((int)begin, (int)Shape.KeyLength);
        int[] slots = new int[tokens.Length];
        for (int slot = 0; slot < slots.Length; ++slot)
        {
            slots[tokens[slot]] = slot;
        }

        return slots;
    });
}
