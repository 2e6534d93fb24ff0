// Makes the unit-normal random tensors that demo and bench run on.
using System;
using System.Threading.Tasks;

namespace FusedAttention.Cli.Measuring;

internal static class NormalNumbers
{
    private const int BlockSize = 1 << 16;

    /// <summary>Draws numbers that depend on the seed alone, not on the number of threads.</summary>
    internal static float[] Draw(long count, int seed)
    {
        float[] numbers = new float[count];
        int blocks = (int)((count + BlockSize - 1) / BlockSize);
        Parallel.For(0, blocks, block =>
        {
            Random random = new(HashCode(seed, block));
            int begin = block * BlockSize;
            int end = (int)Math.Min(count, begin + (long)BlockSize);
            for (int i = begin; i < end; i += 2)
            {
                // Box and Muller: two uniform numbers give two normal ones. 1 - u is never 0.
                float radius = MathF.Sqrt(-2 * MathF.Log(1 - random.NextSingle()));
                (float sine, float cosine) = MathF.SinCos(2 * MathF.PI * random.NextSingle());
                numbers[i] = radius * cosine;
                if (i + 1 < end)
                {
                    numbers[i + 1] = radius * sine;
                }
            }
        });
        return numbers;
    }

    private static int HashCode(int seed, int block) => unchecked((seed * 1_000_003) ^ (block * 8191));
}
