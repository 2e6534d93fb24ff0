// The tokens of a block pattern, cut into blocks. Given by callers to BlockMasks.
namespace FusedAttention;

/// <summary>Heads and tokens that a block pattern is made for.</summary>
/// <param name="Heads">Heads, H, 0 to 2^31 - 1.</param>
/// <param name="QueryLength">
/// Query tokens, 0 to <paramref name="KeyLength"/>: the last ones of the keys' positions.
/// </param>
/// <param name="KeyLength">
/// Key tokens, 0 to 2^31 - 1; KeyLength - QueryLength is a multiple of <paramref name="BlockSize"/>.
/// </param>
/// <param name="BlockSize">Tokens of a block, 1 to 2^31 - 1.</param>
/// <param name="Causal">Whether key blocks after the query's are dropped. Default true.</param>
public sealed record BlockGrid(long Heads, long QueryLength, long KeyLength, long BlockSize, bool Causal = true)
{
    /// <summary>Blocks along the queries.</summary>
    public long QueryBlocks => Blocks(QueryLength);

    /// <summary>Blocks along the keys.</summary>
    public long KeyBlocks => Blocks(KeyLength);

    private long Blocks(long length) =>
        BlockSize > 0 && length > 0 ? (length / BlockSize) + (length % BlockSize == 0 ? 0 : 1) : 0;
}
