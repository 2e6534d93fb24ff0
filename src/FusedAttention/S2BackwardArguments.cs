// What one backward run of S2 attention reads and writes. Made by callers, read by S2AttentionPlan.
namespace FusedAttention;

/// <summary>
/// The tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not given
/// are not computed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct S2BackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Output of the forward run.</summary>
    public TensorIn<T> Output;

    /// <summary>LSE of the forward run.</summary>
    public TensorIn<float> Lse;

    /// <summary>Gradient of the output.</summary>
    public TensorIn<T> GradOutput;

    /// <summary>Gradient of the LSE, [B, Hq, Lq]. Not given: 0.</summary>
    public TensorIn<float> GradLse;

    /// <summary>Receives the gradient of the queries.</summary>
    public TensorOut<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public TensorOut<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public TensorOut<T> GradValue;

    /// <summary>
    /// Added to the positions of the queries, for a shard of a longer sequence; a multiple of
    /// <see cref="S2Options.BlockSize"/>.
    /// </summary>
    public long QueryPositionOffset;

    /// <summary>
    /// Added to the positions of the keys, likewise. Runs over the shards of a sequence's keys, merged
    /// (<see cref="AttentionMerge"/>), are the run over all of them.
    /// </summary>
    public long KeyPositionOffset;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
