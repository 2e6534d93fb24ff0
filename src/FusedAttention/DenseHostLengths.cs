// Lengths of packed sequences in host memory, for runs over device tensors. Made by callers, read by DenseAttentionPlan.
using System;

namespace FusedAttention;

/// <summary>
/// The lengths of one run over device tensors where they lie in host memory. Members that the plan's options announce
/// must be set, all others not.
/// </summary>
/// <remarks>
/// They are checked like those of a run over spans, and copied in the run's stream into its workspace; the caller may
/// change them as soon as the run is queued.
/// </remarks>
public ref struct DenseHostLengths
{
    /// <summary>First query of each packed sequence, then the total used; [Sequences + 1].</summary>
    public ReadOnlySpan<int> CumulativeQueryLengths;

    /// <summary>First key of each packed sequence, then the total used; [Sequences + 1].</summary>
    public ReadOnlySpan<int> CumulativeKeyLengths;

    /// <summary>How many keys of each sequence exist, with <see cref="DenseOptions.KeyLengths"/>.</summary>
    public ReadOnlySpan<int> KeyLengths;
}
