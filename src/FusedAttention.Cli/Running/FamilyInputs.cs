// The tensors that every family has, checked against each other; each family's inputs add their own.
using System.Linq;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

/// <summary>Checks names, shapes and types; the contents of tensors are read by the run.</summary>
internal abstract class FamilyInputs
{
    private readonly Problem _problem;

    /// <exception cref="BadInputException">q, k and v do not fit each other.</exception>
    protected FamilyInputs(Problem problem, TensorSet tensors)
    {
        _problem = problem;
        Tensors = tensors;
        Q = tensors["q"];
        K = tensors["k"];
        V = tensors["v"];
        OutputGradient = tensors.Find("do");
        LseGradient = tensors.Find("dlse");
        Shape = CheckShape(problem.Layout);
    }

    internal TensorSet Tensors { get; }

    internal TensorEntry Q { get; }

    internal TensorEntry K { get; }

    internal TensorEntry V { get; }

    internal TensorEntry? OutputGradient { get; }

    internal TensorEntry? LseGradient { get; }

    internal AttentionShape Shape { get; }

    /// <summary>Whether gradients are asked for.</summary>
    internal bool HasBackward => _problem.Backward;

    /// <summary>The run of this problem with elements of the given type: float, Half or BFloat16.</summary>
    internal abstract FamilyRun<T> MakeRun<T>()
        where T : unmanaged;

    /// <summary>The shape of a tensor with the given heads, tokens and width, in the problem's layout.</summary>
    internal long[] Arrange(long heads, long tokens, long width) => Shape.Layout == AttentionLayout.HeadsFirst
        ? [Shape.Batch, heads, tokens, width]
        : [Shape.Batch, tokens, heads, width];

    protected static void Require(bool holds, TensorEntry entry, string expected)
    {
        if (!holds)
        {
            throw new BadInputException($"tensor \"{entry.Name}\" has shape {entry.ShapeText}; expected {expected}");
        }
    }

    /// <param name="entry">Null when the tensor is absent, which is fine.</param>
    /// <param name="shape">What it must be.</param>
    /// <param name="meaning">The same in the words of the contract, for example "[B, Hq, Lq]".</param>
    protected static void RequireShape(TensorEntry? entry, long[] shape, string meaning)
    {
        if (entry is not null)
        {
            Require(entry.Shape.SequenceEqual(shape), entry, $"{meaning}, here [{string.Join(", ", shape)}]");
        }
    }

    /// <summary>Tensors that follow the type of the call; absent ones are null.</summary>
    protected void RequireOneType(params TensorEntry?[] additional)
    {
        string names = additional.Length == 0 ? "q, k, v and do" : "q, k, v, do and additional_*";
        foreach (TensorEntry entry in new[] { Q, K, V, OutputGradient }.Concat(additional).OfType<TensorEntry>())
        {
            if (!Q.Dtype.IsFloat() || entry.Dtype != Q.Dtype)
            {
                throw new BadInputException(
                    $"tensor \"{entry.Name}\" is {entry.Dtype}, q is {Q.Dtype}; {names}" +
                    " share one of F64, F32, F16, BF16");
            }
        }
    }

    /// <summary>Tensors that are float32 in the call, whatever its type.</summary>
    protected static void RequireFloats(params TensorEntry?[] entries)
    {
        foreach (TensorEntry entry in entries.OfType<TensorEntry>())
        {
            if (!entry.Dtype.IsFloat())
            {
                throw new BadInputException(
                    $"tensor \"{entry.Name}\" is {entry.Dtype}; expected one of F64, F32, F16, BF16");
            }
        }
    }

    protected static void RequireIndices(params TensorEntry?[] entries)
    {
        foreach (TensorEntry entry in entries.OfType<TensorEntry>())
        {
            if (entry.Dtype is not (TensorDtype.I32 or TensorDtype.I64))
            {
                throw new BadInputException($"tensor \"{entry.Name}\" is {entry.Dtype}; expected I32 or I64");
            }
        }
    }

    /// <summary>The gradients that come in, and that a backward problem has one for the output.</summary>
    protected void CheckGradients()
    {
        long[] output = Arrange(Shape.QueryHeads, Shape.QueryLength, Shape.ValueHeadDim);
        RequireShape(OutputGradient, output, "the shape of o");
        RequireShape(LseGradient, [Shape.Batch, Shape.QueryHeads, Shape.QueryLength], "[B, Hq, Lq]");
        if (_problem.Backward && OutputGradient is null)
        {
            throw Tensors.Missing("do", "\"backward\": true needs it");
        }
    }

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
}
