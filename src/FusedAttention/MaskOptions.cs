// Announces a visibility mask. Used by DenseOptions.
namespace FusedAttention;

/// <summary>
/// Shape and format of the visibility mask that every run of a plan brings: [B or 1, Hq or 1, Lq, Lk].
/// </summary>
/// <remarks>
/// For packed sequences: [Sequences or 1, Hq or 1, MaxQueryLength, MaxKeyLength], as <see cref="BiasOptions"/> says.
/// </remarks>
public sealed record MaskOptions
{
    /// <summary>True: a mask for each batch entry or packed sequence; false: one for all. Default false.</summary>
    public bool PerBatch { get; init; }

    /// <summary>True: a mask for each query head; false: one for all. Default false.</summary>
    public bool PerHead { get; init; }

    /// <summary>Bytes or bits. Default bytes.</summary>
    public MaskFormat Format { get; init; }

    /// <summary>
    /// Strides of batch entries (or sequences), heads and query rows, in elements (bits with bits); null: contiguous.
    /// </summary>
    public TensorStrides? Strides { get; init; }
}
