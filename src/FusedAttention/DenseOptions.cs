// What dense attention computes besides softmax(q k) v. Given by callers to plans and to the one-call methods.
namespace FusedAttention;

/// <summary>Options of dense attention. Members that are not set keep their stated default.</summary>
/// <remarks>
/// The score of a pair is scale * q.k, then soft-capped, then bias and ALiBi are added, then hidden pairs drop out.
/// Members that announce a tensor oblige every run to bring it. Immutable; equal when all members are.
/// </remarks>
public sealed record DenseOptions
{
    /// <summary>Hides keys after the query's own position. Default false.</summary>
    public bool Causal { get; init; }

    /// <summary>Where positions are counted from, for causal, window, chunks and ALiBi. Default bottom-right.</summary>
    public CausalAlignment CausalAlignment { get; init; }

    /// <summary>Hides keys further away than this; null: none.</summary>
    public AttentionWindow? Window { get; init; }

    /// <summary>Shows only keys of the query's own chunk of this many positions, 1 or more; null: all.</summary>
    public long? AttentionChunk { get; init; }

    /// <summary>Multiplies q.k, finite; null: 1 / sqrt(D). 0 means 0.</summary>
    public float? Scale { get; init; }

    /// <summary>cap in cap * tanh(scale * q.k / cap), positive; null: no cap.</summary>
    public float? SoftCap { get; init; }

    /// <summary>Softmax or sigmoid. Default softmax.</summary>
    public AttentionWeights Weights { get; init; }

    /// <summary>
    /// Added to scores before the sigmoid; null: 0. Only with <see cref="AttentionWeights.Sigmoid"/>.
    /// </summary>
    public float? SigmoidBias { get; init; }

    /// <summary>Runs bring an additive bias of this shape; null: none.</summary>
    public BiasOptions? Bias { get; init; }

    /// <summary>Runs bring a visibility mask of this shape; null: none.</summary>
    public MaskOptions? Mask { get; init; }

    /// <summary>Runs bring ALiBi slopes, [Hq]: bias -slope * |position of the query - key|. Default false.</summary>
    public bool Alibi { get; init; }

    /// <summary>Runs bring sink logits, [Hq]: a key that every row sees and whose value is 0. Default false.</summary>
    public bool Sinks { get; init; }

    /// <summary>Runs bring how many keys of each sequence exist, [B]. Default false.</summary>
    public bool KeyLengths { get; init; }

    /// <summary>Sequences of different lengths lie one after the other; null: one sequence per batch entry.</summary>
    public PackedOptions? Packed { get; init; }

    /// <summary>Keys and values lie in pages (needs <see cref="KeyLengths"/>); null: in one tensor.</summary>
    public PagingOptions? Paging { get; init; }

    /// <summary>Probability that a weight is dropped, in [0, 1); null: none. Runs bring seed and offset.</summary>
    public float? Dropout { get; init; }

    /// <summary>The plan will also run backward. Default false.</summary>
    public bool Backward { get; init; }

    /// <summary>Gradients must be the same bits on every run; on the CPU they always are. Default false.</summary>
    public bool Deterministic { get; init; }

    /// <summary>
    /// The output, and its gradient, are <see cref="float"/> whatever the queries are. Default false.
    /// </summary>
    public bool Float32Output { get; init; }

    /// <summary>
    /// Gradients of queries, keys and values are <see cref="float"/> whatever these are. Default false.
    /// </summary>
    public bool Float32Gradients { get; init; }
}
