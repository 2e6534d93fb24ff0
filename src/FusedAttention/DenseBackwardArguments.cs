// What one backward run of dense attention reads and writes. Made by callers, read by DenseAttentionPlan.
using System;

namespace FusedAttention;

/// <summary>
/// The tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not given
/// are not computed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct DenseBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Output of the forward run, [B, Hq, Lq, Dv]; not needed with sigmoid weights.</summary>
    public TensorIn<T> Output;

    /// <summary>LSE of the forward run, [B, Hq, Lq]; not needed with sigmoid weights.</summary>
    public TensorIn<float> Lse;

    /// <summary>Gradient of the output, [B, Hq, Lq, Dv].</summary>
    public TensorIn<T> GradOutput;

    /// <summary>Gradient of the LSE, [B, Hq, Lq]. Not given: 0.</summary>
    public TensorIn<float> GradLse;

    /// <summary>Additive bias, as in the forward run.</summary>
    public TensorIn<T> Bias;

    /// <summary>Visibility mask, as in the forward run.</summary>
    public TensorIn<byte> Mask;

    /// <summary>Slopes, as in the forward run.</summary>
    public ReadOnlySpan<float> AlibiSlopes;

    /// <summary>Sink logits, as in the forward run.</summary>
    public ReadOnlySpan<float> SinkLogits;

    /// <summary>As in the forward run.</summary>
    public ReadOnlySpan<int> CumulativeQueryLengths;

    /// <summary>As in the forward run.</summary>
    public ReadOnlySpan<int> CumulativeKeyLengths;

    /// <summary>As in the forward run.</summary>
    public ReadOnlySpan<int> KeyLengths;

    /// <summary>Receives the gradient of the queries, [B, Hq, Lq, D].</summary>
    public TensorOut<T> GradQuery;

    /// <summary>Receives the gradient of the keys, [B, Hk, Lk, D].</summary>
    public TensorOut<T> GradKey;

    /// <summary>Receives the gradient of the values, [B, Hv, Lk, Dv].</summary>
    public TensorOut<T> GradValue;

    /// <summary>
    /// Receives the gradient of the bias, contiguous in the extents of the bias, [B or 1, Hq or 1, Lq, Lk] (packed
    /// sequences: as <see cref="BiasOptions"/> says), summed over the dimensions that the bias broadcasts.
    /// </summary>
    public TensorOut<float> GradBias;

    /// <summary>Receives the gradient of the sink logits, [Hq].</summary>
    public Span<float> GradSinkLogits;

    /// <summary>As in the forward run.</summary>
    public ulong DropoutSeed;

    /// <summary>As in the forward run.</summary>
    public ulong DropoutOffset;

    /// <summary>As in the forward run.</summary>
    public long QueryPositionOffset;

    /// <summary>As in the forward run.</summary>
    public long KeyPositionOffset;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
