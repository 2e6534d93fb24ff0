// What one forward run of linear attention reads and writes. Made by callers, read by LightningAttentionPlan.
using System;

namespace FusedAttention;

/// <summary>
/// The tensors of one forward run. The initial state is given exactly when the plan's options announce it.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct LightningForwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, L, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, L, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hk, L, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Receives the output, [B, Hq, L, Dv].</summary>
    public TensorOut<T> Output;

    /// <summary>Decay of each query head per token, [Hq]; finite, 0 (no decay) or more.</summary>
    public ReadOnlySpan<float> Slopes;

    /// <summary>
    /// State before the first token, [B, Hq, <see cref="LightningAttentionPlan{T}.StateRows"/>,
    /// <see cref="LightningAttentionPlan{T}.StateColumns"/>], with <see cref="LightningOptions.InitialState"/>.
    /// </summary>
    public TensorIn<float> InitialState;

    /// <summary>Receives the state after the last token, shaped as the initial one. Not given: not wanted.</summary>
    public TensorOut<float> FinalState;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
