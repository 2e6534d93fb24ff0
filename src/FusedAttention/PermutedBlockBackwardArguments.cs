// What one backward run of permuted block-sparse attention reads and writes. Made by callers, read by
// PermutedBlockAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not given
/// are not computed. The selection is held fixed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct PermutedBlockBackwardArguments<T>
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

    /// <summary>As in the forward run.</summary>
    public TensorIn<int> Permutation;

    /// <summary>As in the forward run.</summary>
    public TensorIn<byte> BlockMask;

    /// <summary>Receives the gradient of the queries.</summary>
    public TensorOut<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public TensorOut<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public TensorOut<T> GradValue;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
