// Which page holds which block of which head of an S2 cache. Used by S2KeyValueCache.
using System;
using System.Collections.Generic;

namespace FusedAttention.Internal;

/// <summary>
/// Pages of one block each. They belong to key heads, counted over the batch; a sequence is the query heads of a key
/// head that have one pattern, and sees its pages through a row of the block table.
/// </summary>
internal sealed class S2Pages
{
    private readonly bool[][] _keepsAlways; // per query head: blocks that stay visible at any distance
    private readonly long _localBlocks;
    private readonly long _blockSize;
    private readonly long _queryHeadsPerKeyHead;
    private readonly SortedDictionary<long, int>[] _pages; // per key head: block to page
    private readonly Stack<int> _free = new();
    private readonly int[] _table;
    private readonly int[] _rowLengths;
    private readonly int[] _keyLengths;
    private long _lastBlock = -1;

    private S2Pages(AttentionShape shape, S2Options options, bool[][] keepsAlways)
    {
        _keepsAlways = keepsAlways;
        _blockSize = options.BlockSize;
        long blocks = keepsAlways[0].LongLength;
        _localBlocks = Math.Min(options.LocalBlocks, Math.Max(blocks, 1));
        _queryHeadsPerKeyHead = shape.QueryHeads / shape.KeyHeads;
        bool isShared = true;
        long kept = 0;
        long longest = 0;
        for (long head = 0; head < shape.KeyHeads; ++head)
        {
            long first = head * _queryHeadsPerKeyHead;
            long always = 0;
            for (long block = 0; block < blocks; ++block)
            {
                always += KeepsAlways(head, block) ? 1 : 0;
            }

            for (long other = first; other < first + _queryHeadsPerKeyHead; ++other)
            {
                isShared &= keepsAlways[first].AsSpan().SequenceEqual(keepsAlways[other]);
                longest = Math.Max(longest, keepsAlways[other].AsSpan().Count(true));
            }

            kept += Math.Min(blocks, always + _localBlocks);
        }

        HeadsPerSequence = isShared ? _queryHeadsPerKeyHead : 1;
        Sequences = shape.Batch * (shape.QueryHeads / HeadsPerSequence);
        MaxPagesPerSequence = Math.Max(1, Math.Min(blocks, longest + _localBlocks));
        Count = Math.Max(1, shape.Batch * kept);
        _pages = new SortedDictionary<long, int>[shape.Batch * shape.KeyHeads];
        for (int head = 0; head < _pages.Length; ++head)
        {
            _pages[head] = [];
        }

        _table = new int[checked(Sequences * MaxPagesPerSequence)];
        _rowLengths = new int[Sequences];
        _keyLengths = new int[Sequences];
        Clear();
    }

    /// <summary>Pages of all heads and batch entries together.</summary>
    internal long Count { get; }

    /// <summary>Rows of the block table.</summary>
    internal long Sequences { get; }

    /// <summary>Query heads that share a row.</summary>
    internal long HeadsPerSequence { get; }

    /// <summary>Entries of a row.</summary>
    internal long MaxPagesPerSequence { get; }

    /// <summary>[Sequences, MaxPagesPerSequence] page numbers, blocks ascending; unused entries are 0.</summary>
    internal ReadOnlySpan<int> Table => _table;

    /// <summary>Asks a plan which blocks each query head sees from far away.</summary>
    internal static S2Pages Make(AttentionShape shape, S2Options options)
    {
        long blocks = Math.Max(1, (shape.KeyLength / Math.Max(options.BlockSize, 1))
            + (shape.KeyLength % Math.Max(options.BlockSize, 1) == 0 ? 0 : 1));

        // The one query of this plan stands a whole band behind the last block of the cache.
        S2Options bounded = options with { LocalBlocks = Math.Min(options.LocalBlocks, blocks), Backward = false };
        AttentionShape distant = shape with
        {
            Batch = 1,
            Layout = AttentionLayout.HeadsFirst,
            KeyLength = checked((blocks + Math.Max(bounded.LocalBlocks, 0)) * options.BlockSize),
        };
        using S2AttentionPlan<float> plan = new(distant, bounded);
        bool[][] keepsAlways = new bool[shape.QueryHeads][];
        for (long head = 0; head < shape.QueryHeads; ++head)
        {
            ReadOnlySpan<TileState> seen = plan.GetTileMap(0, head).Tiles[..(int)blocks];
            keepsAlways[head] = new bool[blocks];
            for (int block = 0; block < seen.Length; ++block)
            {
                keepsAlways[head][block] = seen[block] != TileState.Skipped;
            }
        }

        return new S2Pages(shape, options, keepsAlways);
    }

    /// <summary>Another number whenever the table is another.</summary>
    internal long Version { get; private set; }

    /// <summary>Gives new tokens their slots, page times block size plus the place in the page.</summary>
    /// <param name="length">Tokens there are already.</param>
    /// <param name="tokens">New ones.</param>
    /// <param name="slots">
    /// Receives [B, Hk, tokens]; -1 where a later one of these tokens takes the same slot.
    /// </param>
    internal void Append(long length, long tokens, Span<int> slots)
    {
        for (long token = 0; token < tokens; ++token)
        {
            long inBlock = (length + token) % _blockSize;
            if (inBlock == 0)
            {
                Begin((length + token) / _blockSize);
            }

            for (int head = 0; head < _pages.Length; ++head)
            {
                slots[checked((int)((head * tokens) + token))] =
                    checked((int)((_pages[head][_lastBlock] * _blockSize) + inBlock));
            }
        }

        // A page that is given back comes again after a whole band.
        if (tokens > _blockSize * _localBlocks)
        {
            LeaveOutEarlier(tokens, slots);
        }
    }

    private void LeaveOutEarlier(long tokens, Span<int> slots)
    {
        var taken = new HashSet<int>();
        for (long token = tokens - 1; token >= 0; --token)
        {
            for (int head = 0; head < _pages.Length; ++head)
            {
                ref int slot = ref slots[(int)((head * tokens) + token)];
                slot = taken.Add(slot) ? slot : -1;
            }
        }
    }

    /// <summary>Starts the next block: what fell out of the band goes, every head gets a page for the new one.</summary>
    private void Begin(long block)
    {
        long fallen = block - _localBlocks;
        for (int head = 0; head < _pages.Length; ++head)
        {
            if (fallen >= 0 && !KeepsAlways(head % (_keepsAlways.Length / _queryHeadsPerKeyHead), fallen))
            {
                _free.Push(_pages[head][fallen]);
                _ = _pages[head].Remove(fallen);
            }

            _pages[head].Add(block, _free.Pop());
        }

        _lastBlock = block;
        ++Version;
        for (long sequence = 0; sequence < Sequences; ++sequence)
        {
            FillRow(sequence);
        }
    }

    /// <summary>Tokens that each sequence sees when there are that many tokens.</summary>
    internal ReadOnlySpan<int> Lengths(long tokens)
    {
        int unused = (int)(((_lastBlock + 1) * _blockSize) - tokens);
        for (int sequence = 0; sequence < _keyLengths.Length; ++sequence)
        {
            _keyLengths[sequence] = _rowLengths[sequence] == 0
                ? 0
                : checked((int)((_rowLengths[sequence] * _blockSize) - unused));
        }

        return _keyLengths;
    }

    /// <summary>Tokens in all pages in use when there are that many tokens.</summary>
    internal long KeptTokens(long tokens)
    {
        long unused = ((_lastBlock + 1) * _blockSize) - tokens;
        long kept = 0;
        foreach (SortedDictionary<long, int> pages in _pages)
        {
            kept += pages.Count == 0 ? 0 : (pages.Count * _blockSize) - unused;
        }

        return kept;
    }

    /// <summary>Frees all pages.</summary>
    internal void Clear()
    {
        _free.Clear();
        for (int page = checked((int)Count) - 1; page >= 0; --page)
        {
            _free.Push(page);
        }

        foreach (SortedDictionary<long, int> pages in _pages)
        {
            pages.Clear();
        }

        Array.Clear(_table);
        Array.Clear(_rowLengths);
        _lastBlock = -1;
        ++Version;
    }

    /// <summary>Makes it as if only so many tokens had been appended: pages are given out in one order alone.</summary>
    internal void Restore(long length)
    {
        Clear();
        for (long block = 0; block * _blockSize < length; ++block)
        {
            Begin(block);
        }
    }

    /// <summary>Whether some query head of a key head of one batch entry sees a block from any distance.</summary>
    private bool KeepsAlways(long keyHead, long block)
    {
        for (long head = 0; head < _queryHeadsPerKeyHead; ++head)
        {
            if (_keepsAlways[(keyHead * _queryHeadsPerKeyHead) + head][block])
            {
                return true;
            }
        }

        return false;
    }

    private void FillRow(long sequence)
    {
        long queryHead = sequence * HeadsPerSequence; // counted over the batch
        bool[] always = _keepsAlways[queryHead % _keepsAlways.LongLength];
        int count = 0;
        foreach ((long block, int page) in _pages[queryHead / _queryHeadsPerKeyHead])
        {
            if (always[block] || block > _lastBlock - _localBlocks)
            {
                _table[(sequence * MaxPagesPerSequence) + count++] = page;
            }
        }

        _rowLengths[sequence] = count;
    }
}
