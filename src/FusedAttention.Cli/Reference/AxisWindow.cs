// The window of one axis of a neighborhood; used by the neighborhood reference.
using System;

namespace FusedAttention.Cli.Reference;

/// <param name="Length">Tokens along the axis.</param>
/// <param name="Kernel">Keys of a window.</param>
/// <param name="Stride">Queries that share a window.</param>
/// <param name="Dilation">Distance between neighbouring keys of a window.</param>
/// <param name="Causal">Whether keys after the query are hidden.</param>
internal sealed record AxisWindow(long Length, long Kernel, long Stride, long Dilation, bool Causal)
{
    /// <summary>The keys that a query sees: the first, and how many, <see cref="Dilation"/> apart.</summary>
    internal (long First, long Count) Window(long query)
    {
        // Tokens with the same remainder form a group of their own; the rest counts inside it.
        long group = query % Dilation;
        long place = query / Dilation;
        long length = (Length - group + Dilation - 1) / Dilation;
        long firstOfStride = place / Stride * Stride;
        long begin;
        long end;
        if (Causal)
        {
            long leader = Math.Min(firstOfStride + Stride - 1, length - 1);
            begin = Math.Max(leader - (Kernel - 1), 0);
            end = Math.Min(place + 1, length);
        }
        else
        {
            // At a border the window is shifted, not cut: it always has Kernel keys.
            long leader = Math.Min(firstOfStride + (Stride / 2), length - 1);
            begin = Math.Clamp(leader - (Kernel / 2), 0, length - Kernel);
            end = begin + Kernel;
        }

        return (group + (begin * Dilation), end - begin);
    }

    /// <summary>Whether the key is one of the query's window.</summary>
    internal bool Sees(long query, long key)
    {
        (long first, long count) = Window(query);
        return key >= first && (key - first) % Dilation == 0 && (key - first) / Dilation < count;
    }
}
