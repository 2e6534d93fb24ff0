// Distances in a tensor that is a view of other memory. Used by AttentionShape, BiasOptions and MaskOptions.
namespace FusedAttention;

/// <summary>Distances between neighbours along each dimension but the last, whose stride is 1.</summary>
/// <param name="Batch">Elements from one batch entry (in paged keys and values: from one page) to the next; inputs may
/// use 0 to broadcast.</param>
/// <param name="Head">Elements from one head to the next.</param>
/// <param name="Token">Elements from one token (in a bias or mask: from one query row) to the next.</param>
public readonly record struct TensorStrides(long Batch, long Head, long Token);
