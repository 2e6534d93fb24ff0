// The tensors of a dense problem, found in a file and checked against each other; made by the run and draw verbs.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal sealed class DenseInputs
{
    private static readonly string[] Required = ["q", "k", "v"];

    private static readonly string[] Optional =
        ["bias", "alibi_slopes", "sink_logits", "cu_seqlens_q", "cu_seqlens_k", "do", "dlse"];

    private readonly SafetensorsReader _reader;

    private DenseInputs(SafetensorsReader reader, AttentionLayout layout)
    {
        _reader = reader;
        Q = reader.Tensors["q"];
        K = reader.Tensors["k"];
        V = reader.Tensors["v"];
        Bias = Find("bias");
        AlibiSlopes = Find("alibi_slopes");
        SinkLogits = Find("sink_logits");
        CuSeqlensQ = Find("cu_seqlens_q");
        CuSeqlensK = Find("cu_seqlens_k");
        OutputGradient = Find("do");
        LseGradient = Find("dlse");
        Shape = CheckShape(layout);
    }

    internal TensorEntry Q { get; }

    internal TensorEntry K { get; }

    internal TensorEntry V { get; }

    internal TensorEntry? Bias { get; }

    internal TensorEntry? AlibiSlopes { get; }

    internal TensorEntry? SinkLogits { get; }

    internal TensorEntry? CuSeqlensQ { get; }

    internal TensorEntry? CuSeqlensK { get; }

    internal TensorEntry? OutputGradient { get; }

    internal TensorEntry? LseGradient { get; }

    internal AttentionShape Shape { get; }

    /// <summary>Checks names, shapes and types of all tensors; their contents are not read.</summary>
    /// <exception cref="BadInputException">A tensor is missing, unknown, or does not fit the others.</exception>
    internal static DenseInputs Find(DenseProblem problem, SafetensorsReader reader)
    {
        foreach (string name in reader.Tensors.Keys)
        {
            if (!Required.Contains(name) && !Optional.Contains(name))
            {
                throw new BadInputException(
                    $"{reader.Source} has tensor {StrictJson.Quote(name)}, which dense does not" +
                    $" know; its tensors are {string.Join(", ", Required)} and maybe {string.Join(", ", Optional)}");
            }
        }

        foreach (string name in Required)
        {
            if (!reader.Tensors.ContainsKey(name))
            {
                throw new BadInputException($"{reader.Source} lacks the tensor \"{name}\"; dense needs q, k and v");
            }
        }

        DenseInputs inputs = new(reader, problem.Layout);
        inputs.CheckTypes();
        inputs.CheckOptional(problem);
        return inputs;
    }

    /// <summary>The shape of an output with the given heads, tokens and width, in the problem's layout.</summary>
    internal long[] Arrange(long heads, long tokens, long width) => Shape.Layout == AttentionLayout.HeadsFirst
        ? [Shape.Batch, heads, tokens, width]
        : [Shape.Batch, tokens, heads, width];

    private AttentionShape CheckShape(AttentionLayout layout)
    {
        (long batch, long heads, long queries, long width) = Sizes(Q, layout);
        (long keyBatch, long keyHeads, long keys, long keyWidth) = Sizes(K, layout);
        (long valueBatch, long valueHeads, long values, long valueWidth) = Sizes(V, layout);
        Require(keyBatch == batch && keyWidth == width, K, $"B = {batch} and D = {width} as in q {Q.ShapeText}");
        Require(valueBatch == batch && values == keys, V, $"B = {batch} as in q and Lk = {keys} as in k {K.ShapeText}");
        Require(keyHeads <= heads && (keyHeads > 0 || heads == 0), K, $"1 to {heads} heads, q has {heads}");
        Require(valueHeads <= heads && (valueHeads > 0 || heads == 0), V, $"1 to {heads} heads, q has {heads}");
        return new AttentionShape(batch, heads, queries, width)
        {
            KeyHeads = keyHeads,
            ValueHeads = valueHeads,
            KeyLength = keys,
            ValueHeadDim = valueWidth,
            Layout = layout,
        };
    }

    private static (long Batch, long Heads, long Tokens, long Width) Sizes(TensorEntry entry, AttentionLayout layout)
    {
        Require(entry.Shape.Length == 4, entry, layout == AttentionLayout.HeadsFirst ? "[B, H, L, D]" : "[B, L, H, D]");
        return layout == AttentionLayout.HeadsFirst
            ? (entry.Shape[0], entry.Shape[1], entry.Shape[2], entry.Shape[3])
            : (entry.Shape[0], entry.Shape[2], entry.Shape[1], entry.Shape[3]);
    }

    private void CheckTypes()
    {
        foreach (TensorEntry entry in new[] { Q, K, V, OutputGradient }.OfType<TensorEntry>())
        {
            if (!Q.Dtype.IsFloat() || entry.Dtype != Q.Dtype)
            {
                throw new BadInputException(
                    $"tensor \"{entry.Name}\" is {entry.Dtype}, q is {Q.Dtype}; q, k, v and do" +
                    " share one of F64, F32, F16, BF16");
            }
        }

        foreach (TensorEntry entry in new[] { Bias, AlibiSlopes, SinkLogits, LseGradient }.OfType<TensorEntry>())
        {
            if (!entry.Dtype.IsFloat())
            {
                throw new BadInputException(
                    $"tensor \"{entry.Name}\" is {entry.Dtype}; expected one of F64, F32, F16, BF16");
            }
        }

        foreach (TensorEntry entry in new[] { CuSeqlensQ, CuSeqlensK }.OfType<TensorEntry>())
        {
            if (entry.Dtype is not (TensorDtype.I32 or TensorDtype.I64))
            {
                throw new BadInputException($"tensor \"{entry.Name}\" is {entry.Dtype}; expected I32 or I64");
            }
        }
    }

    private void CheckOptional(DenseProblem problem)
    {
        RequireShape(AlibiSlopes, [Shape.QueryHeads], "[Hq]");
        RequireShape(SinkLogits, [Shape.QueryHeads], "[Hq]");
        long[] output = Arrange(Shape.QueryHeads, Shape.QueryLength, Shape.ValueHeadDim);
        RequireShape(OutputGradient, output, "the shape of o");
        RequireShape(LseGradient, [Shape.Batch, Shape.QueryHeads, Shape.QueryLength], "[B, Hq, Lq]");
        if (Bias is { } bias)
        {
            bool fits = bias.Shape.Length == 4
                && (bias.Shape[0] == 1 || bias.Shape[0] == Shape.Batch)
                && (bias.Shape[1] == 1 || bias.Shape[1] == Shape.QueryHeads)
                && bias.Shape[2] == Shape.QueryLength
                && bias.Shape[3] == Shape.KeyLength;
            string heads = $"{Shape.Batch} or 1, {Shape.QueryHeads} or 1";
            Require(fits, bias, $"[{heads}, {Shape.QueryLength}, {Shape.KeyLength}]");
        }

        if (CuSeqlensQ is null != CuSeqlensK is null)
        {
            throw new BadInputException(
                "packed sequences need both cu_seqlens_q and cu_seqlens_k; one of them is absent");
        }

        if (CuSeqlensQ is { } queries && CuSeqlensK is { } keys)
        {
            if (Bias is not null)
            {
                throw new BadInputException(
                    "bias and cu_seqlens_q are both given; packed sequences have no bias, use alibi_slopes or one run each");
            }

            Require(Shape.Batch == 1, Q, "B = 1, as cu_seqlens_q says that sequences are packed");
            Require(queries.Shape.Length == 1 && queries.NumElements >= 2, queries, "[n + 1] for n >= 1 sequences");
            RequireShape(keys, queries.Shape, "the shape of cu_seqlens_q");
        }

        if (problem.Backward && OutputGradient is null)
        {
            throw new BadInputException($"{_reader.Source} lacks the tensor \"do\"; \"backward\": true needs it");
        }
    }

    private static void RequireShape(TensorEntry? entry, long[] shape, string meaning)
    {
        if (entry is not null)
        {
            Require(entry.Shape.SequenceEqual(shape), entry, $"{meaning}, here [{string.Join(", ", shape)}]");
        }
    }

    private static void Require(bool holds, TensorEntry entry, string expected)
    {
        if (!holds)
        {
            throw new BadInputException($"tensor \"{entry.Name}\" has shape {entry.ShapeText}; expected {expected}");
        }
    }

    private TensorEntry? Find(string name) => _reader.Tensors.GetValueOrDefault(name);
}
