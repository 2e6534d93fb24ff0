// One problem that demo or bench measures; each family has its own kind of case.
using System;

namespace FusedAttention.Cli.Measuring;

internal enum CaseType
{
    F32,
    F16,
    BF16,
}

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
internal abstract record MeasuredCase(string Name, CaseType Type)
{
    /// <summary>The sizes in a few words, for example "B1 H8 L4096 D64".</summary>
    internal abstract string Sizes { get; }

    /// <summary>Whether the backward pass is measured too.</summary>
    internal abstract bool HasBackward { get; }

    /// <summary>True when time goes into moving memory, not into arithmetic.</summary>
    internal virtual bool IsMemoryBound => false;

    /// <summary>Dense attention over the same tokens, which the case is compared with; null for none.</summary>
    internal virtual DenseEquivalent? Dense => null;

    /// <summary>The same with sequences of at most so many tokens.</summary>
    internal abstract MeasuredCase Cut(long tokens);

    /// <summary>Makes plan, tensors and reference.</summary>
    /// <typeparam name="T">The element type that <see cref="Type"/> names.</typeparam>
    /// <typeparam name="TElements">Its conversions.</typeparam>
    /// <exception cref="AttentionException">The device does not support the problem.</exception>
    internal abstract PreparedCase Prepare<T, TElements>(AttentionDevice device, int seed)
        where T : unmanaged
        where TElements : IElements<T>;

    /// <summary>A shape with sequences of at most so many tokens.</summary>
    protected static AttentionShape Cut(AttentionShape shape, long tokens) => shape with
    {
        QueryLength = Math.Min(shape.QueryLength, tokens),
        KeyLength = Math.Min(shape.KeyLength, tokens),
    };
}
