// What a decode over pages sees. Made by the caches of keys and values, read by PageMemory.
using System;

namespace FusedAttention.Internal;

/// <summary>Block table and lengths of one moment; a version is another number whenever its array is another.</summary>
internal readonly ref struct PageState(
    ReadOnlySpan<int> table, long tableVersion, ReadOnlySpan<int> lengths, long lengthsVersion)
{
    /// <summary>[Sequences, MaxPagesPerSequence] page numbers.</summary>
    internal readonly ReadOnlySpan<int> Table = table;

    internal readonly long TableVersion = tableVersion;

    /// <summary>[Sequences] tokens that each sequence sees.</summary>
    internal readonly ReadOnlySpan<int> Lengths = lengths;

    internal readonly long LengthsVersion = lengthsVersion;
}
