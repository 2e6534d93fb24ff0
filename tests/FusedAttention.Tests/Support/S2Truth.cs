// S2 problems as dense ones whose mask is the pattern, and their runs through the library. Used by the S2 tests.
using System;

namespace FusedAttention.Tests.Support;

internal static class S2Truth
{
    /// <summary>A random problem of the shape; its mask says what the pattern shows.</summary>
    public static DenseCase Problem<T>(AttentionShape shape, S2Options options)
        where T : unmanaged
    {
        var dense = new DenseOptions { Scale = options.Scale, Mask = new MaskOptions { PerHead = true } };
        DenseCase problem = DenseCase.Create<T>(shape, dense);
        long at = 0;
        for (long head = 0; head < shape.QueryHeads; ++head)
        {
            for (long row = 0; row < shape.QueryLength; ++row)
            {
                for (long key = 0; key < shape.KeyLength; ++key)
                {
                    problem.Mask[at++] = Sees(shape, options, head, row, key) ? (byte)1 : (byte)0;
                }
            }
        }

        return problem;
    }

    /// <summary>Whether a query sees a key.</summary>
    public static bool Sees(AttentionShape shape, S2Options options, long head, long row, long key)
    {
        long position = row + shape.KeyLength - shape.QueryLength;
        long queryBlock = (long)Math.Floor((double)position / options.BlockSize);
        long keyBlock = key / options.BlockSize;
        bool isPerQuery = options.PatternHeads == S2PatternHeads.Query;
        long patterns = isPerQuery ? shape.QueryHeads : shape.KeyHeads;
        long own = isPerQuery ? head : head * shape.KeyHeads / shape.QueryHeads;
        bool isDense = !options.Homogeneous && own >= patterns - options.DenseHeads;
        if (!options.Causal)
        {
            long before = Math.Max(0, queryBlock - keyBlock - options.LocalBlocks + 1);
            long after = Math.Max(0, keyBlock - queryBlock - options.LocalBlocks + 1);
            return isDense || (before + after) % options.VerticalStride == 0;
        }

        long step = options.Homogeneous ? 0 : Math.Max(1, options.VerticalStride / shape.QueryHeads);
        bool isOwn = (keyBlock + (own * step) + options.HeadOffset) % options.VerticalStride == 0;
        return key <= position && (isDense || isOwn || queryBlock - keyBlock < options.LocalBlocks);
    }

    /// <summary>The library's results, forward and backward.</summary>
    public static DenseResult Run<T>(DenseCase problem, S2Options options, int maxThreads = 0)
        where T : unmanaged
    {
        AttentionShape shape = problem.Shape;
        using var plan = new S2AttentionPlan<T>(shape, options with { Backward = true });
        long rows = shape.Batch * shape.QueryHeads * shape.QueryLength;
        var output = new T[rows * shape.ValueHeadDim];
        float[] lse = new float[rows];
        var forward = new S2ForwardArguments<T>
        {
            Query = Numbers.From<T>(problem.Query),
            Key = Numbers.From<T>(problem.Key),
            Value = Numbers.From<T>(problem.Value),
            Output = output,
            Lse = lse,
            MaxThreads = maxThreads,
        };
        plan.Forward(in forward);
        var gradQuery = new T[problem.Query.Length];
        var gradKey = new T[problem.Key.Length];
        var gradValue = new T[problem.Value.Length];
        var backward = new S2BackwardArguments<T>
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Output = output,
            Lse = lse,
            GradOutput = Numbers.From<T>(problem.GradOutput),
            GradLse = problem.GradLse,
            GradQuery = gradQuery,
            GradKey = gradKey,
            GradValue = gradValue,
            MaxThreads = maxThreads,
        };
        plan.Backward(in backward);
        return new DenseResult
        {
            Output = Numbers.ToDouble<T>(output),
            Lse = Numbers.ToDouble<float>(lse),
            GradQuery = Numbers.ToDouble<T>(gradQuery),
            GradKey = Numbers.ToDouble<T>(gradKey),
            GradValue = Numbers.ToDouble<T>(gradValue),
            GradBias = [],
            GradSinkLogits = [],
        };
    }
}
