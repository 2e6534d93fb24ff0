// Announces an additive bias. Used by DenseOptions.
namespace FusedAttention;

/// <summary>Shape and type of the additive bias that every run of a plan brings: [B or 1, Hq or 1, Lq, Lk].</summary>
/// <remarks>
/// For packed sequences: [Sequences or 1, Hq or 1, MaxQueryLength, MaxKeyLength], with the members of
/// <see cref="PackedOptions"/>, rows and columns counted from each sequence's own first query and key. What lies beyond
/// a shorter sequence is not read, and gets gradient 0.
/// </remarks>
public sealed record BiasOptions
{
    /// <summary>True: a bias for each batch entry or packed sequence; false: one for all. Default false.</summary>
    public bool PerBatch { get; init; }

    /// <summary>True: a bias for each query head; false: one for all. Default false.</summary>
    public bool PerHead { get; init; }

    /// <summary>
    /// True: elements have the type of the queries; false: they are <see cref="float"/>. Default false.
    /// </summary>
    public bool SameTypeAsQuery { get; init; }

    /// <summary>Strides of batch entries (or sequences), heads and query rows; null: contiguous.</summary>
    public TensorStrides? Strides { get; init; }
}
