// The parts of a buffer that a span can be. Called by the buffers that hand out spans.
using System;

namespace FusedAttention.Internal;

internal static class SpanBounds
{
    /// <summary>The length of a span over a whole buffer.</summary>
    /// <exception cref="InvalidOperationException">The buffer is longer than a span can be.</exception>
    public static int Whole(long length) => length <= int.MaxValue
        ? (int)length
        : throw new InvalidOperationException(
            $"The buffer holds {length} elements; a span holds at most {int.MaxValue}. Ask for a part of it.");

    /// <summary>Refuses a part that is not inside a buffer.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is not.</exception>
    public static void CheckPart(long start, int length, long bufferLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start, bufferLength - length);
    }
}
