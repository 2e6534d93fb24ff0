// Small random inputs for the tests of the row references, exact in float also when perturbed by a power of two.
using System;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Tests.Cli;

internal static class RandomReferenceData
{
    internal static ReferenceData Make(AttentionShape shape, int seed)
    {
        Random random = new(seed);
        long rows = shape.Batch * shape.QueryHeads * shape.QueryLength;
        return new ReferenceData(
            Draw(random, rows * shape.HeadDim),
            Draw(random, shape.Batch * shape.KeyHeads * shape.KeyLength * shape.HeadDim),
            Draw(random, shape.Batch * shape.ValueHeads * shape.KeyLength * shape.ValueHeadDim))
        {
            OutputGradient = Draw(random, rows * shape.ValueHeadDim),
            LseGradient = Draw(random, rows),
        };
    }

    internal static float[] Draw(Random random, long count)
    {
        float[] numbers = new float[count];
        for (int i = 0; i < numbers.Length; ++i)
        {
            numbers[i] = random.Next(-512, 512) / 256f;
        }

        return numbers;
    }
}
