// One axis of a token grid with its window. Part of NeighborhoodOptions.
namespace FusedAttention;

/// <summary>One axis of a token grid, and which neighbours a token sees along it.</summary>
/// <param name="Extent">
/// Tokens along the axis, 1 or more; all axes together make at most 2^31 - 1 tokens.
/// </param>
/// <param name="KernelSize">
/// Tokens that a query sees along the axis, in [1, Extent / Dilation]. An even size has one more neighbour before the
/// query than behind it. At the ends of the axis the window is shifted, not cut.
/// </param>
public readonly record struct NeighborhoodAxis(long Extent, long KernelSize)
{
    /// <summary>Queries that share one window, in [1, KernelSize]; KernelSize gives blocked attention. Default 1.</summary>
    public long Stride { get; init; } = 1;

    /// <summary>
    /// Distance between neighbouring tokens of a window, in [1, Extent / KernelSize]: a query sees every Dilation-th
    /// token. Default 1.
    /// </summary>
    public long Dilation { get; init; } = 1;

    /// <summary>Hides tokens behind the query along this axis; windows are then cut at the start. Default false.</summary>
    public bool Causal { get; init; }
}
