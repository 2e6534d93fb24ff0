// The inputs of the row references; filled by the measured cases of demo and bench.
namespace FusedAttention.Cli.Reference;

/// <param name="Q">[B, Hq, Lq, D], the values the library saw, after rounding to its element type.</param>
/// <param name="K">[B, Hk, Lk, D].</param>
/// <param name="V">[B, Hv, Lk, Dv].</param>
internal sealed record ReferenceData(float[] Q, float[] K, float[] V)
{
    /// <summary>[Hq], or null for no ALiBi.</summary>
    internal float[]? AlibiSlopes { get; init; }

    /// <summary>[Hq], or null for no sinks.</summary>
    internal float[]? SinkLogits { get; init; }

    /// <summary>[B, Hk, E, D] keys that every row sees, or null for none.</summary>
    internal float[]? AdditionalK { get; init; }

    /// <summary>[B, Hv, E, Dv], given with <see cref="AdditionalK"/>.</summary>
    internal float[]? AdditionalV { get; init; }

    /// <summary>[B, Hq, D, Dv] state before the first token of lightning, or null for zero.</summary>
    internal float[]? InitialState { get; init; }

    /// <summary>[B, Hq, D, Dv] gradient of the state after the last token of lightning, or null for zero.</summary>
    internal float[]? FinalStateGradient { get; init; }

    /// <summary>[B, Hq, Lq, Dv]; needed for gradients.</summary>
    internal float[]? OutputGradient { get; init; }

    /// <summary>[B, Hq, Lq], or null for zero.</summary>
    internal float[]? LseGradient { get; init; }
}
