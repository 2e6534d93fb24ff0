// What one backward run of neighborhood attention reads and writes. Made by callers, read by NeighborhoodAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not given
/// are not computed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct NeighborhoodBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, L, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, L, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hk, L, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Output of the forward run.</summary>
    public TensorIn<T> Output;

    /// <summary>LSE of the forward run.</summary>
    public TensorIn<float> Lse;

    /// <summary>Gradient of the output.</summary>
    public TensorIn<T> GradOutput;

    /// <summary>Gradient of the LSE, [B, Hq, L]. Not given: 0.</summary>
    public TensorIn<float> GradLse;

    /// <summary>Additional keys, as in the forward run.</summary>
    public TensorIn<T> AdditionalKey;

    /// <summary>Additional values, as in the forward run.</summary>
    public TensorIn<T> AdditionalValue;

    /// <summary>Receives the gradient of the queries.</summary>
    public TensorOut<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public TensorOut<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public TensorOut<T> GradValue;

    /// <summary>Receives the gradient of the additional keys.</summary>
    public TensorOut<T> GradAdditionalKey;

    /// <summary>Receives the gradient of the additional values.</summary>
    public TensorOut<T> GradAdditionalValue;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
