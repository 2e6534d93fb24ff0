// The tensors of one measured case, and its two calls into the library; made by the case runner.
using System;
using System.Runtime.CompilerServices;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <typeparam name="T">Element type of the case.</typeparam>
/// <typeparam name="TElements">Its conversions.</typeparam>
internal sealed class CaseTensors<T, TElements>
    where T : unmanaged
    where TElements : IElements<T>
{
    private readonly T[] _q;
    private readonly T[] _k;
    private readonly T[] _v;
    private readonly T[] _outputGradient;

    internal CaseTensors(MeasuredCase measured, int seed)
    {
        AttentionShape shape = measured.Shape;
        DenseOptions options = measured.Options;
        long queryRows = shape.Batch * shape.QueryHeads * shape.QueryLength;
        long keyElements = shape.Batch * shape.KeyHeads * shape.KeyLength * shape.HeadDim;
        long valueElements = shape.Batch * shape.ValueHeads * shape.KeyLength * shape.ValueHeadDim;
        long outputElements = queryRows * shape.ValueHeadDim;
        bool backward = options.Backward;
        (_q, float[] q) = Draw(queryRows * shape.HeadDim, seed);
        (_k, float[] k) = Draw(keyElements, seed + 1);
        (_v, float[] v) = Draw(valueElements, seed + 2);
        (_outputGradient, float[] outputGradient) = Draw(backward ? outputElements : 0, seed + 3);
        Output = new T[outputElements];
        Lse = new float[queryRows];
        QueryGradient = new T[backward ? _q.Length : 0];
        KeyGradient = new T[backward ? _k.Length : 0];
        ValueGradient = new T[backward ? _v.Length : 0];
        Reference = new ReferenceData(q, k, v)
        {
            AlibiSlopes = options.Alibi ? Slopes(shape.QueryHeads) : null,
            SinkLogits = options.Sinks ? NormalNumbers.Draw(shape.QueryHeads, seed + 4) : null,
            OutputGradient = outputGradient,
        };
    }

    internal ReferenceData Reference { get; }

    internal T[] Output { get; }

    internal float[] Lse { get; }

    internal T[] QueryGradient { get; }

    internal T[] KeyGradient { get; }

    internal T[] ValueGradient { get; }

    /// <summary>Bytes of all keys and values.</summary>
    internal static double KeyValueBytes(AttentionShape shape)
    {
        double keys = (double)shape.KeyHeads * shape.HeadDim;
        double values = (double)shape.ValueHeads * shape.ValueHeadDim;
        return shape.Batch * shape.KeyLength * (keys + values) * Unsafe.SizeOf<T>();
    }

    internal void Forward(DenseAttentionPlan<T> plan)
    {
        DenseForwardArguments<T> arguments = new()
        {
            Query = _q,
            Key = _k,
            Value = _v,
            Output = Output,
            Lse = Lse,
            AlibiSlopes = Reference.AlibiSlopes,
            SinkLogits = Reference.SinkLogits,
        };
        plan.Forward(in arguments);
    }

    internal void Backward(DenseAttentionPlan<T> plan)
    {
        DenseBackwardArguments<T> arguments = new()
        {
            Query = _q,
            Key = _k,
            Value = _v,
            Output = Output,
            Lse = Lse,
            GradOutput = _outputGradient,
            AlibiSlopes = Reference.AlibiSlopes,
            SinkLogits = Reference.SinkLogits,
            GradQuery = QueryGradient,
            GradKey = KeyGradient,
            GradValue = ValueGradient,
        };
        plan.Backward(in arguments);
    }

    // The tensor as the library sees it, and the same numbers as floats.
    private static (T[] Elements, float[] Rounded) Draw(long count, int seed)
    {
        float[] numbers = NormalNumbers.Draw(count, seed);
        T[] elements = new T[count];
        for (int i = 0; i < elements.Length; ++i)
        {
            elements[i] = TElements.FromSingle(numbers[i]);
            numbers[i] = TElements.ToSingle(elements[i]);
        }

        return (elements, numbers);
    }

    private static float[] Slopes(long heads)
    {
        float[] slopes = new float[heads];
        for (int head = 0; head < slopes.Length; ++head)
        {
            slopes[head] = MathF.Pow(2, -8f * (head + 1) / heads);
        }

        return slopes;
    }
}
