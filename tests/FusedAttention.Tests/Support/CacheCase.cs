// Sequences that grow unevenly in a dense cache, beside the truth over their tokens. Used by the tests of the cache on
// the CPU and on a GPU.
using System;

namespace FusedAttention.Tests.Support;

/// <summary>
/// Three sequences in fewer pages than all could fill. Sequence b's tokens are a prefix of entry b of one random problem.
/// </summary>
internal sealed class CacheCase<T>
    where T : unmanaged
{
    public const int Sequences = 3;
    public const int QueryHeads = 4;
    public const int KeyHeads = 2;
    public const int Queries = 2;
    public const int KeyDim = 16;
    public const int ValueDim = 8;
    public const int OutputLength = Sequences * QueryHeads * Queries * ValueDim;
    public const int LseLength = Sequences * QueryHeads * Queries;
    private const int Capacity = 24;
    private const int Seed = 21;

    /// <summary>Sequence, or -1 for all, and how many tokens come.</summary>
    public static readonly (int Sequence, int Tokens)[] Appends =
        [(-1, 1), (0, 5), (2, 3), (-1, 3), (1, 8), (0, 11), (2, 1)];

    private static readonly AttentionShape Whole = new(Sequences, QueryHeads, Queries, KeyDim)
    {
        KeyHeads = KeyHeads,
        ValueHeads = KeyHeads,
        KeyLength = Capacity,
        ValueHeadDim = ValueDim,
    };

    private readonly AttentionLayout _layout;
    private readonly DenseCase _problem = Problem([Capacity, Capacity, Capacity]);

    public CacheCase(AttentionLayout layout) => _layout = layout;

    /// <summary>12 pages of 4 tokens; three full sequences would need 18.</summary>
    public static DenseOptions Options => new() { Causal = true, Paging = new PagingOptions(12, 4, 6) };

    public AttentionShape Shape => Whole with { Layout = _layout };

    public T[] Query => Arrange<T>(_problem.Query, QueryHeads, Queries, KeyDim, 0, Sequences, [0, 0, 0], Queries);

    /// <summary>The tokens that come next, when the sequences have such lengths.</summary>
    public T[] Keys(int sequence, int tokens, int[] lengths) => Tokens(_problem.Key, KeyDim, sequence, tokens, lengths);

    public T[] Values(int sequence, int tokens, int[] lengths) =>
        Tokens(_problem.Value, ValueDim, sequence, tokens, lengths);

    /// <summary>Throws unless the results are those of the tokens that there are.</summary>
    public void Check(T[] output, float[] lse, int[] lengths)
    {
        DenseResult truth = DenseTruth.Compute(Problem(lengths));
        double tolerance = Expect.Tolerance<T>();
        Expect.Near(
            "output", Numbers.ToDouble<T>(output),
            Arrange<double>(truth.Output, QueryHeads, Queries, ValueDim, 0, Sequences, [0, 0, 0], Queries), tolerance);
        Expect.Near("lse", Numbers.ToDouble<float>(lse), truth.Lse, tolerance);
    }

    /// <summary>Lengths after an append.</summary>
    public static void Grow(int[] lengths, int sequence, int tokens)
    {
        for (int n = 0; n < Sequences; ++n)
        {
            lengths[n] += sequence < 0 || sequence == n ? tokens : 0;
        }
    }

    private static DenseCase Problem(int[] lengths) => DenseCase.Create<T>(
        Whole, new DenseOptions { Causal = true, KeyLengths = true }, Seed, made => made.With(keyLengths: lengths));

    private T[] Tokens(float[] tensor, int dim, int sequence, int tokens, int[] lengths) => Arrange<T>(
        tensor, KeyHeads, Capacity, dim, Math.Max(sequence, 0), sequence < 0 ? Sequences : 1, lengths, tokens);

    /// <summary>Rows from where each entry's begin of some entries of a [B, H, L, D] tensor, in the layout.</summary>
    private TElement[] Arrange<TElement>(
        Array tensor, int heads, int length, int dim, int first, int entries, int[] begins, int count)
        where TElement : unmanaged
    {
        var source = tensor as TElement[] ?? Numbers.From<TElement>((float[])tensor);
        var result = new TElement[entries * heads * count * dim];
        for (int entry = 0; entry < entries; ++entry)
        {
            for (int head = 0; head < heads; ++head)
            {
                for (int row = 0; row < count; ++row)
                {
                    int from = ((((first + entry) * heads) + head) * length) + begins[first + entry] + row;
                    int to = _layout == AttentionLayout.HeadsFirst
                        ? (((entry * heads) + head) * count) + row
                        : (((entry * count) + row) * heads) + head;
                    Array.Copy(source, from * dim, result, to * dim, dim);
                }
            }
        }

        return result;
    }
}
