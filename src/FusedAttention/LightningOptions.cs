// What linear attention computes. Given by callers to plans and to the one-call methods.
namespace FusedAttention;

/// <summary>Options of linear attention. Members that are not set keep their stated default.</summary>
/// <remarks>
/// o_t = scale * sum over u &lt;= t of exp(-slope (t - u)) (q_t.k_u) v_u, with q and k after the feature map. Members
/// that announce a tensor oblige every run to bring it. Immutable; equal when all members are.
/// </remarks>
public sealed record LightningOptions
{
    /// <summary>
    /// Each token sees itself and those before it. Otherwise every token sees every token with weight
    /// exp(-slope |t - u|). Default true.
    /// </summary>
    public bool Causal { get; init; } = true;

    /// <summary>
    /// Multiplies the output, finite; null: 1 (there is no 1 / sqrt(D)). Cancels with <see cref="Normalize"/>.
    /// </summary>
    public float? Scale { get; init; }

    /// <summary>Applied to queries and keys; gradients are those before it. Default identity.</summary>
    public FeatureMap FeatureMap { get; init; }

    /// <summary>
    /// Divides the output by the sum of its weights; rows whose weights add up to 0 become 0. States then have one more
    /// column, the decayed sum of the keys' features. Default false.
    /// </summary>
    public bool Normalize { get; init; }

    /// <summary>Forward and backward runs bring the state before the first token. Default false: it is 0.</summary>
    public bool InitialState { get; init; }

    /// <summary>The plan will also run backward. Default false.</summary>
    public bool Backward { get; init; }

    /// <summary>
    /// The output, and its gradient, are <see cref="float"/> whatever the queries are. Default false.
    /// </summary>
    public bool Float32Output { get; init; }

    /// <summary>
    /// Gradients of queries, keys and values are <see cref="float"/> whatever these are. Default false.
    /// </summary>
    public bool Float32Gradients { get; init; }
}
