// What measured cases of the softmax families have in common: sizes, and the work that follows from visible pairs.
namespace FusedAttention.Cli.Measuring;

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes.</param>
internal abstract record SoftmaxCase(string Name, CaseType Type, AttentionShape Shape) : MeasuredCase(Name, Type)
{
    /// <summary>"B1 H32/8 L1:32768 D128": what is equal is said once.</summary>
    internal override string Sizes
    {
        get
        {
            string heads = Pair(Shape.QueryHeads, '/', Shape.KeyHeads);
            string length = Pair(Shape.QueryLength, ':', Shape.KeyLength);
            return $"B{Shape.Batch} H{heads} L{length} D{Pair(Shape.HeadDim, ':', Shape.ValueHeadDim)}";
        }
    }

    internal override bool IsMemoryBound => Shape.QueryLength * 8 <= Shape.KeyLength && Shape.QueryLength <= 16;

    /// <param name="pairs">Visible pairs of all heads.</param>
    /// <param name="stats">The plan's schedule; says how many more pairs are visited.</param>
    /// <param name="elementBytes">Bytes of one element of k and v.</param>
    internal CaseWork WorkOf(double pairs, ScheduleStats stats, int elementBytes)
    {
        double allPairs = (double)Shape.Batch * Shape.QueryHeads * Shape.QueryLength * Shape.KeyLength;
        double keys = (double)Shape.KeyHeads * Shape.HeadDim;
        double values = (double)Shape.ValueHeads * Shape.ValueHeadDim;
        return new CaseWork
        {
            ForwardFlops = 2 * pairs * (Shape.HeadDim + Shape.ValueHeadDim),

            // Five products: scores again, the gradients of weights and of v, k, q.
            BackwardFlops = 2 * pairs * ((3 * Shape.HeadDim) + (2 * Shape.ValueHeadDim)),
            Bytes = Shape.Batch * Shape.KeyLength * (keys + values) * elementBytes,
            VisitedShare = stats.NeededPairs > 0 ? stats.VisitedPairs / stats.NeededPairs : 1,
            AllPairs = allPairs,
            VisibleShare = allPairs == 0 ? 0 : pairs / allPairs,
        };
    }

    private static string Pair(long first, char separator, long second) =>
        first == second ? $"{first}" : $"{first}{separator}{second}";
}
