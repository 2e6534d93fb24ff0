// Merging partial results, forward and as a law of gradients.
using System;
using System.Linq;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class AttentionMergeTests
{
    private const int Heads = 2, Queries = 9, Dim = 16;

    [Test]
    public void Halves_merge_to_the_whole()
    {
        (float[] output, float[] lse, DenseResult whole) = Merge([12, 18], stacked: false);
        Expect.Near("output", Numbers.ToDouble<float>(output), whole.Output, Expect.Tolerance<float>());
        Expect.Near("lse", Numbers.ToDouble<float>(lse), whole.Lse, Expect.Tolerance<float>());
    }

    [Test]
    public void Any_number_of_parts_merge_to_the_whole([Values(1, 2, 5)] int parts)
    {
        (float[] output, float[] lse, DenseResult whole) = Merge(
            Enumerable.Range(1, parts).Select(n => n * 3).ToArray(), stacked: true);
        Expect.Near("output", Numbers.ToDouble<float>(output), whole.Output, Expect.Tolerance<float>());
        Expect.Near("lse", Numbers.ToDouble<float>(lse), whole.Lse, Expect.Tolerance<float>());
    }

    [Test]
    public void A_part_with_no_keys_counts_as_absent()
    {
        float[] output = [5, 6], lse = [0.5f, float.NegativeInfinity];
        float[] absent = [float.NaN, 7], absentLse = [float.NegativeInfinity, float.NegativeInfinity];
        float[] merged = new float[2], mergedLse = new float[2];
        AttentionMerge.Merge<float>(output, lse, absent, absentLse, merged, mergedLse, new AttentionShape(1, 1, 2, 1));
        Assert.That(merged, Is.EqualTo(new float[] { 5, 0 }));
        Assert.That(mergedLse, Is.EqualTo(lse));
    }

    [Test]
    public void The_result_may_take_the_place_of_a_part()
    {
        float[] a = [1, 2], b = [3, 6], lseA = [0, 0], lseB = [0, MathF.Log(3)];
        AttentionMerge.Merge<float>(a, lseA, b, lseB, a, lseA, new AttentionShape(1, 1, 2, 1));
        Assert.That(a, Is.EqualTo(new float[] { 2, 5 }).Within(1e-6));
        Assert.That(lseA, Is.EqualTo(new[] { MathF.Log(2), MathF.Log(4) }).Within(1e-6));
    }

    [Test]
    public void Half_and_bfloat16_parts_merge()
    {
        AttentionShape shape = new(1, 1, 1, 1);
        var half = new Half[1];
        AttentionMerge.Merge<Half>(
            new[] { (Half)1 }, new float[1], new[] { (Half)3 }, new float[1], half, default, shape);
        var brain = new BFloat16[1];
        AttentionMerge.Merge<BFloat16>(
            new[] { (BFloat16)1f }, new float[1], new[] { (BFloat16)3f }, new float[1], brain, default, shape);
        Assert.That(((float)half[0], (float)brain[0]), Is.EqualTo((2f, 2f)));
    }

    [Test]
    public void Wrong_lengths_are_refused()
    {
        AttentionShape shape = new(1, 1, 2, 4);
        float[] part = new float[8], lse = new float[2];
        Assert.That(
            () => AttentionMerge.Merge<float>(part, new float[3], part, lse, new float[8], default, shape),
            Throws.ArgumentException.With.Message.Contains("lse has 3"));
        Assert.That(
            () => AttentionMerge.Merge<float>(part, lse, part, lse, new float[7], default, shape),
            Throws.ArgumentException.With.Message.Contains("output has 7"));
        Assert.That(
            () => AttentionMerge.Merge<float>(3, new float[16], new float[6], new float[8], default, shape),
            Throws.ArgumentException.With.Message.Contains("outputs has 16"));
        Assert.That(
            () => AttentionMerge.Merge<float>(0, part, lse, new float[8], default, shape),
            Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Types_and_devices_that_cannot_merge_are_refused()
    {
        var shape = new AttentionShape(1, 1, 1, 1);
        AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        device.Dispose();
        Assert.That(
            () => AttentionMerge.Merge<double>(
                new double[1], new float[1], new double[1], new float[1], new double[1], default, shape),
            Throws.TypeOf<NotSupportedException>());
        Assert.That(
            () => AttentionMerge.Merge<float>(
                new float[1], new float[1], new float[1], new float[1], new float[1], default, shape, device),
            Throws.TypeOf<ObjectDisposedException>());
    }

    // Cuts the keys into parts of the given sizes, runs each and merges them.
    private static (float[] Output, float[] Lse, DenseResult Whole) Merge(int[] sizes, bool stacked)
    {
        int keys = sizes.Sum();
        DenseCase whole = DenseCase.Create<float>(AttentionShape.CrossAttention(1, Heads, Queries, keys, Dim));
        float[] outputs = [], lses = [];
        int first = 0;
        foreach (int size in sizes)
        {
            var shape = AttentionShape.CrossAttention(1, Heads, Queries, size, Dim) with
            {
                KeyStrides = new TensorStrides(0, keys * Dim, Dim),
                ValueStrides = new TensorStrides(0, keys * Dim, Dim),
            };
            float[] output = new float[Heads * Queries * Dim], lse = new float[Heads * Queries];
            DenseAttention.Forward<float>(
                whole.Query, whole.Key.AsSpan(first * Dim), whole.Value.AsSpan(first * Dim), output, shape, null, lse);
            outputs = [.. outputs, .. output];
            lses = [.. lses, .. lse];
            first += size;
        }

        float[] merged = new float[Heads * Queries * Dim], mergedLse = new float[Heads * Queries];
        if (stacked)
        {
            AttentionMerge.Merge<float>(sizes.Length, outputs, lses, merged, mergedLse, whole.Shape);
        }
        else
        {
            int elements = merged.Length, rows = mergedLse.Length;
            AttentionMerge.Merge<float>(
                outputs.AsSpan(0, elements), lses.AsSpan(0, rows), outputs.AsSpan(elements), lses.AsSpan(rows), merged,
                mergedLse, whole.Shape);
        }

        return (merged, mergedLse, DenseTruth.Compute(whole));
    }
}
