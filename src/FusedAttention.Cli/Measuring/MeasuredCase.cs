// One problem that demo or bench measures.

namespace FusedAttention.Cli.Measuring;

internal enum CaseType
{
    F32,
    F16,
    BF16,
}

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes.</param>
/// <param name="Options">Features; with Backward the case is measured in both directions.</param>
internal sealed record MeasuredCase(string Name, CaseType Type, AttentionShape Shape, DenseOptions Options)
{
    /// <summary>True when time goes into reading keys and values, not into arithmetic.</summary>
    internal bool IsDecode => Shape.QueryLength * 8 <= Shape.KeyLength && Shape.QueryLength <= 16;
}
