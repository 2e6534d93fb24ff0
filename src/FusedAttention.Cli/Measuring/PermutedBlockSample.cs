// Queries and keys of which few matter, as in long texts: what demo, bench and draw show permuted blocks on.
using System;

namespace FusedAttention.Cli.Measuring;

/// <summary>
/// All queries of a KV head lean towards one direction. In one segment of eight, a quarter of the keys, at random
/// places, lean that way too and so hold nearly all weight.
/// </summary>
internal static class PermutedBlockSample
{
    private const int Seed = 90210;
    private const float QueryLean = 0.8f;
    private const float KeyLean = 2;
    private const int SegmentsPerRelevant = 8;
    private const int KeysPerRelevant = 4;

    /// <summary>Contiguous [B, Hq, Lq, D] and [B, Hk, Lk, D].</summary>
    internal static (float[] Q, float[] K) Make(AttentionShape shape, PermutedBlockOptions options)
    {
        float[] q = NormalNumbers.Draw(shape.Batch * shape.QueryHeads * shape.QueryLength * shape.HeadDim, Seed);
        float[] k = NormalNumbers.Draw(shape.Batch * shape.KeyHeads * shape.KeyLength * shape.HeadDim, Seed + 1);
        Lean(shape, options, q, k);
        return (q, k);
    }

    /// <summary>Adds the lean to unit-normal queries and keys.</summary>
    internal static void Lean(AttentionShape shape, PermutedBlockOptions options, Span<float> q, Span<float> k)
    {
        float[] directions = NormalNumbers.Draw(shape.KeyHeads * shape.HeadDim, Seed + 2);
        int width = (int)shape.HeadDim;
        for (long row = 0; row < shape.Batch * shape.QueryHeads * shape.QueryLength; ++row)
        {
            long head = row / shape.QueryLength % shape.QueryHeads * shape.KeyHeads / shape.QueryHeads;
            Add(q.Slice((int)(row * width), width), directions.AsSpan((int)head * width, width), QueryLean);
        }

        Random random = new(Seed);
        for (long head = 0; head < shape.Batch * shape.KeyHeads; ++head)
        {
            ReadOnlySpan<float> direction = directions.AsSpan((int)(head % shape.KeyHeads) * width, width);
            for (long begin = 0; begin < shape.KeyLength; begin += options.SegmentSize)
            {
                bool isRelevant = random.Next(SegmentsPerRelevant) == 0;
                long end = Math.Min(begin + options.SegmentSize, shape.KeyLength);
                for (long key = begin; key < end; ++key)
                {
                    if (random.Next(KeysPerRelevant) == 0 && isRelevant)
                    {
                        Add(k.Slice((int)(((head * shape.KeyLength) + key) * width), width), direction, KeyLean);
                    }
                }
            }
        }
    }

    private static void Add(Span<float> row, ReadOnlySpan<float> direction, float factor)
    {
        for (int i = 0; i < row.Length; ++i)
        {
            row[i] += factor * direction[i];
        }
    }
}
