// Announces a cache of keys and values in pages. Used by DenseOptions.
namespace FusedAttention;

/// <summary>
/// Keys and values lie in pages, [Pages, PageSize, H, D], reached through a block table that comes with each run;
/// <see cref="AttentionShape.KeyLength"/> is PageSize * MaxPagesPerSequence.
/// </summary>
/// <remarks>
/// Pages are contiguous unless <see cref="AttentionShape.KeyStrides"/> or <see cref="AttentionShape.ValueStrides"/> say
/// otherwise: their Batch is then the distance from one page to the next, so that caches in another order, such as
/// [Pages, H, PageSize, D], or keys and values side by side need no copy. Forward only.
/// </remarks>
/// <param name="Pages">Pages of the cache.</param>
/// <param name="PageSize">Tokens of a page.</param>
/// <param name="MaxPagesPerSequence">Entries in a row of the block table.</param>
public sealed record PagingOptions(long Pages, long PageSize, long MaxPagesPerSequence);
