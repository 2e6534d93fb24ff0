// Announces an additive bias. Used by DenseOptions.
namespace FusedAttention;

/// <summary>Shape and type of the additive bias that every run of a plan brings: [B or 1, Hq or 1, Lq, Lk].</summary>
public sealed record BiasOptions
{
    /// <summary>True: a bias for each batch entry; false: one for all. Default false.</summary>
    public bool PerBatch { get; init; }

    /// <summary>True: a bias for each query head; false: one for all. Default false.</summary>
    public bool PerHead { get; init; }

    /// <summary>
    /// True: elements have the type of the queries; false: they are <see cref="float"/>. Default false.
    /// </summary>
    public bool SameTypeAsQuery { get; init; }

    /// <summary>Strides of batch entries, heads and query rows; null: contiguous.</summary>
    public TensorStrides? Strides { get; init; }
}
