// What one backward run of linear attention reads and writes. Made by callers, read by LightningAttentionPlan.
using System;

namespace FusedAttention;

/// <summary>
/// The tensors of one backward run. Inputs are those of the forward run; gradients that are not given are not
/// computed. Slopes have no gradient.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct LightningBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, L, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, L, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hk, L, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Decay of each query head, as in the forward run.</summary>
    public ReadOnlySpan<float> Slopes;

    /// <summary>State before the first token, as in the forward run.</summary>
    public TensorIn<float> InitialState;

    /// <summary>Gradient of the output.</summary>
    public TensorIn<T> GradOutput;

    /// <summary>Gradient of the final state, shaped as it. Not given: 0.</summary>
    public TensorIn<float> GradFinalState;

    /// <summary>Receives the gradient of the queries.</summary>
    public TensorOut<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public TensorOut<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public TensorOut<T> GradValue;

    /// <summary>Receives the gradient of the initial state, with <see cref="LightningOptions.InitialState"/>.</summary>
    public TensorOut<float> GradInitialState;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
