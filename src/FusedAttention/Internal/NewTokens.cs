// Tokens that go into the pages of a cache. Made by the caches of keys and values, read by PageMemory.
using System;

namespace FusedAttention.Internal;

/// <summary>How many tokens come, for all batch entries or for one, and where they go.</summary>
internal readonly ref struct NewTokens(long count, ReadOnlySpan<int> slots, bool ofOneEntry = false)
{
    internal readonly long Count = count;

    /// <summary>
    /// Page times page size plus the place in the page, below 0 nowhere; [B, n], or [B, Hk, n] where the pages have one
    /// head.
    /// </summary>
    internal readonly ReadOnlySpan<int> Slots = slots;

    internal readonly bool OfOneEntry = ofOneEntry;
}
