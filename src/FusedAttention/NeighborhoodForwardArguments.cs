// What one forward run of neighborhood attention reads and writes. Made by callers, read by NeighborhoodAttentionPlan.
namespace FusedAttention;

/// <summary>The tensors of one forward run; L are the tokens of the grid, row-major.</summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct NeighborhoodForwardArguments<T>
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

    /// <summary>Receives the natural logarithm of each row's sum, [B, Hq, L]. Not given: not wanted.</summary>
    public TensorOut<float> Lse;

    /// <summary>
    /// Keys that every query sees, [B, Hk, E, D], with <see cref="NeighborhoodOptions.AdditionalKeys"/>.
    /// </summary>
    public TensorIn<T> AdditionalKey;

    /// <summary>Their values, [B, Hk, E, Dv].</summary>
    public TensorIn<T> AdditionalValue;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
