// Which page holds which tokens of which sequence of a dense cache. Used by DenseKeyValueCache.
using System;
using System.Collections.Generic;

namespace FusedAttention.Internal;

/// <summary>Pages of one pool: sequences take them as they grow, and give them back whole.</summary>
internal sealed class SequencePages
{
    private readonly PagingOptions _paging;
    private readonly Stack<int> _free = new();
    private readonly int[] _table;
    private readonly int[] _lengths;
    private long _tableVersion;
    private long _lengthsVersion;

    internal SequencePages(long sequences, PagingOptions paging)
    {
        _paging = paging;
        _table = new int[checked(sequences * paging.MaxPagesPerSequence)];
        _lengths = new int[sequences];
        for (int page = checked((int)paging.Pages) - 1; page >= 0; --page)
        {
            _free.Push(page);
        }
    }

    internal long FreePages => _free.Count;

    /// <summary>[Sequences] tokens of each sequence.</summary>
    internal ReadOnlySpan<int> Lengths => _lengths;

    /// <summary>Entries of pages that a sequence does not use are leftovers.</summary>
    internal PageState State => new(_table, _tableVersion, _lengths, _lengthsVersion);

    /// <summary>Pages that a sequence lacks for more tokens.</summary>
    internal long MissingPages(long sequence, long tokens) =>
        PagesOf(_lengths[sequence] + tokens) - PagesOf(_lengths[sequence]);

    /// <summary>Lengthens a sequence; the pages are there and the table has room.</summary>
    /// <param name="sequence">Which.</param>
    /// <param name="slots">Receives the place of each new token.</param>
    internal void Append(long sequence, Span<int> slots)
    {
        long length = _lengths[sequence];
        Span<int> row = Row(sequence);
        foreach (ref int slot in slots)
        {
            int inPage = (int)(length % _paging.PageSize);
            ref int page = ref row[(int)(length / _paging.PageSize)];
            if (inPage == 0)
            {
                page = _free.Pop();
                ++_tableVersion;
            }

            slot = checked((int)((page * _paging.PageSize) + inPage));
            ++length;
        }

        SetLength(sequence, length);
    }

    /// <summary>Shortens a sequence and takes back the pages that it needs no more.</summary>
    internal void Truncate(long sequence, long length)
    {
        Span<int> row = Row(sequence);
        for (long page = PagesOf(_lengths[sequence]) - 1; page >= PagesOf(length); --page)
        {
            _free.Push(row[(int)page]);
        }

        SetLength(sequence, length);
    }

    private void SetLength(long sequence, long length)
    {
        _lengths[sequence] = checked((int)length);
        ++_lengthsVersion;
    }

    private Span<int> Row(long sequence) => _table.AsSpan(
        (int)(sequence * _paging.MaxPagesPerSequence), (int)_paging.MaxPagesPerSequence);

    private long PagesOf(long tokens) => (tokens + _paging.PageSize - 1) / _paging.PageSize;
}
