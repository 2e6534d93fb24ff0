// Announces a cache of keys and values in pages. Used by DenseOptions.
namespace FusedAttention;

/// <summary>
/// Keys and values lie in pages, [Pages, PageSize, H, D] contiguous, reached through a block table that comes with
/// each run; <see cref="AttentionShape.KeyLength"/> is PageSize * MaxPagesPerSequence.
/// </summary>
/// <param name="Pages">Pages of the cache.</param>
/// <param name="PageSize">Tokens of a page.</param>
/// <param name="MaxPagesPerSequence">Entries in a row of the block table.</param>
public sealed record PagingOptions(long Pages, long PageSize, long MaxPagesPerSequence);
