// The sizes of one attention problem. Given by callers to plans and to the one-call methods.
namespace FusedAttention;

/// <summary>Extents of the queries, keys and values of an attention call, and how they lie in memory.</summary>
/// <remarks>
/// Query head h reads key head floor(h * KeyHeads / QueryHeads) and value head floor(h * ValueHeads / QueryHeads).
/// Tensors are contiguous in <see cref="Layout"/> unless their strides are given. Extents are checked when a plan is
/// made. Immutable; equal when all members are.
/// </remarks>
public sealed record AttentionShape
{
    /// <summary>Self-attention with as many key and value heads as query heads.</summary>
    /// <param name="batch">Batch entries, B.</param>
    /// <param name="heads">Heads of queries, keys and values, H.</param>
    /// <param name="length">Tokens, L.</param>
    /// <param name="headDim">Numbers in a query, key or value row, D.</param>
    public AttentionShape(long batch, long heads, long length, long headDim)
    {
        Batch = batch;
        QueryHeads = KeyHeads = ValueHeads = heads;
        QueryLength = KeyLength = length;
        HeadDim = ValueHeadDim = headDim;
    }

    /// <summary>Batch entries, B; 1 for packed sequences.</summary>
    public long Batch { get; init; }

    /// <summary>Heads of queries and outputs, Hq.</summary>
    public long QueryHeads { get; init; }

    /// <summary>Heads of keys, Hk; at most <see cref="QueryHeads"/>.</summary>
    public long KeyHeads { get; init; }

    /// <summary>
    /// Heads of values, Hv; at most <see cref="QueryHeads"/>, may differ from <see cref="KeyHeads"/>.
    /// </summary>
    public long ValueHeads { get; init; }

    /// <summary>Query tokens, Lq; for packed sequences all of them together.</summary>
    public long QueryLength { get; init; }

    /// <summary>
    /// Key and value tokens, Lk; for packed sequences all of them together, for pages the most a row holds.
    /// </summary>
    public long KeyLength { get; init; }

    /// <summary>Numbers in a query or key row, D.</summary>
    public long HeadDim { get; init; }

    /// <summary>Numbers in a value or output row, Dv.</summary>
    public long ValueHeadDim { get; init; }

    /// <summary>Order of the dimensions of every tensor whose strides are not given.</summary>
    public AttentionLayout Layout { get; init; }

    /// <summary>Strides of the queries (and their gradient); null: contiguous.</summary>
    public TensorStrides? QueryStrides { get; init; }

    /// <summary>
    /// Strides of the keys (and their gradient); null: contiguous. With <see cref="DenseOptions.Paging"/>: those of the
    /// pages, Batch from one to the next.
    /// </summary>
    public TensorStrides? KeyStrides { get; init; }

    /// <summary>Strides of the values (and their gradient); null: contiguous. With pages as for keys.</summary>
    public TensorStrides? ValueStrides { get; init; }

    /// <summary>Strides of the output (and its gradient); null: contiguous.</summary>
    public TensorStrides? OutputStrides { get; init; }

    /// <summary>Every token attends to the tokens of its own sequence, all heads alike.</summary>
    /// <param name="batch">Batch entries, B.</param>
    /// <param name="heads">Heads, H.</param>
    /// <param name="length">Tokens, L.</param>
    /// <param name="headDim">Numbers in a row, D.</param>
    public static AttentionShape SelfAttention(long batch, long heads, long length, long headDim) =>
        new(batch, heads, length, headDim);

    /// <summary>Queries attend to another sequence.</summary>
    /// <param name="batch">Batch entries, B.</param>
    /// <param name="heads">Heads, H.</param>
    /// <param name="queryLength">Query tokens, Lq.</param>
    /// <param name="keyLength">Key and value tokens, Lk.</param>
    /// <param name="headDim">Numbers in a row, D.</param>
    public static AttentionShape CrossAttention(
        long batch, long heads, long queryLength, long keyLength, long headDim) =>
        new(batch, heads, queryLength, headDim) { KeyLength = keyLength };

    /// <summary>
    /// Grouped queries: several query heads share a key and value head (1 of them: multi-query attention).
    /// </summary>
    /// <param name="batch">Batch entries, B.</param>
    /// <param name="queryHeads">Query heads, Hq.</param>
    /// <param name="keyValueHeads">Key and value heads.</param>
    /// <param name="length">Tokens, L.</param>
    /// <param name="headDim">Numbers in a row, D.</param>
    public static AttentionShape Gqa(long batch, long queryHeads, long keyValueHeads, long length, long headDim) =>
        new(batch, queryHeads, length, headDim) { KeyHeads = keyValueHeads, ValueHeads = keyValueHeads };

    /// <summary>A few new tokens attend to a cache of keys and values.</summary>
    /// <param name="batch">Sequences, B.</param>
    /// <param name="queryHeads">Query heads, Hq.</param>
    /// <param name="keyValueHeads">Key and value heads.</param>
    /// <param name="cacheLength">Tokens the cache has room for, Lk; <see cref="DenseOptions.KeyLengths"/> says how many
    /// count.</param>
    /// <param name="headDim">Numbers in a row, D.</param>
    /// <param name="newTokens">Query tokens of each sequence, Lq.</param>
    public static AttentionShape Decode(
        long batch, long queryHeads, long keyValueHeads, long cacheLength, long headDim, long newTokens = 1) =>
        new(batch, queryHeads, newTokens, headDim)
        {
            KeyHeads = keyValueHeads,
            ValueHeads = keyValueHeads,
            KeyLength = cacheLength,
        };

    /// <summary>Sequences of different lengths, one after the other along the token axis.</summary>
    /// <param name="queryHeads">Query heads, Hq.</param>
    /// <param name="keyValueHeads">Key and value heads.</param>
    /// <param name="totalQueryLength">Query tokens of all sequences together.</param>
    /// <param name="totalKeyLength">Key tokens of all sequences together.</param>
    /// <param name="headDim">Numbers in a row, D.</param>
    /// <remarks>Goes together with <see cref="DenseOptions.Packed"/>.</remarks>
    public static AttentionShape Packed(
        long queryHeads, long keyValueHeads, long totalQueryLength, long totalKeyLength, long headDim) =>
        new(1, queryHeads, totalQueryLength, headDim)
        {
            KeyHeads = keyValueHeads,
            ValueHeads = keyValueHeads,
            KeyLength = totalKeyLength,
        };

    /// <summary>
    /// Views of one tensor [B, L, 3, H, D] that holds the queries, keys and values of each token side by side.
    /// </summary>
    /// <param name="batch">Batch entries, B.</param>
    /// <param name="heads">Heads, H.</param>
    /// <param name="length">Tokens, L.</param>
    /// <param name="headDim">Numbers in a row, D.</param>
    /// <remarks>
    /// Give the whole tensor as queries, the same from element heads * headDim on as keys, and from 2 * heads * headDim
    /// on as values. The output is contiguous, [B, L, H, D].
    /// </remarks>
    /// <exception cref="System.OverflowException">The strides are larger than 64 bits count.</exception>
    public static AttentionShape PackedQkv(long batch, long heads, long length, long headDim)
    {
        long token = checked(3 * heads * headDim);
        var strides = new TensorStrides(checked(length * token), headDim, token);
        return new AttentionShape(batch, heads, length, headDim)
        {
            Layout = AttentionLayout.TokensFirst,
            QueryStrides = strides,
            KeyStrides = strides,
            ValueStrides = strides,
        };
    }
}
