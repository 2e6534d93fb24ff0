// What neighborhood attention computes. Given by callers to plans and to the one-call methods.
using System;
using System.Collections.Generic;

namespace FusedAttention;

/// <summary>Options of neighborhood attention. Members that are not set keep their stated default.</summary>
/// <remarks>
/// Tokens lie on a grid of one to three axes, row-major: the last axis runs fastest. A query sees a key that lies in
/// its window along every axis. Immutable; equal when all members are.
/// </remarks>
public sealed record NeighborhoodOptions
{
    private readonly NeighborhoodAxis _first;
    private readonly NeighborhoodAxis? _second;
    private readonly NeighborhoodAxis? _third;

    /// <summary>Neighborhoods on a grid.</summary>
    /// <param name="axes">The axes of the grid, one to three, the slowest first.</param>
    /// <exception cref="ArgumentException">There are none or more than three axes.</exception>
    public NeighborhoodOptions(params NeighborhoodAxis[] axes)
    {
        ArgumentNullException.ThrowIfNull(axes);
        if (axes.Length is < 1 or > 3)
        {
            throw new ArgumentException($"{axes.Length} axes were given; a grid has 1 to 3.", nameof(axes));
        }

        _first = axes[0];
        _second = axes.Length > 1 ? axes[1] : null;
        _third = axes.Length > 2 ? axes[2] : null;
    }

    /// <summary>The axes of the grid, the slowest first.</summary>
    public IReadOnlyList<NeighborhoodAxis> Axes => (_second, _third) switch
    {
        (null, _) => [_first],
        ({ } second, null) => [_first, second],
        ({ } second, { } third) => [_first, second, third],
    };

    /// <summary>Tokens of the grid: the query and key length of the shape.</summary>
    public long Tokens => unchecked(_first.Extent * (_second?.Extent ?? 1) * (_third?.Extent ?? 1));

    /// <summary>
    /// Additional keys and values, E, that every query sees besides its window, 0 or more, with <see cref="Tokens"/> at
    /// most 2^31 - 1; runs bring them. Default 0.
    /// </summary>
    public long AdditionalKeys { get; init; }

    /// <summary>Multiplies q.k, finite; null: 1 / sqrt(D). 0 means 0.</summary>
    public float? Scale { get; init; }

    /// <summary>The plan will also run backward. Default false.</summary>
    public bool Backward { get; init; }

    /// <summary>Gradients must be the same bits on every run; on the CPU they always are. Default false.</summary>
    public bool Deterministic { get; init; }

    /// <summary>
    /// The output, and its gradient, are <see cref="float"/> whatever the queries are. Default false.
    /// </summary>
    public bool Float32Output { get; init; }

    /// <summary>All other gradients are <see cref="float"/> whatever the queries are. Default false.</summary>
    public bool Float32Gradients { get; init; }
}
