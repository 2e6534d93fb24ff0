// The tensors of one measured case: random inputs, and room for results; made by the prepared cases.
using System;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

internal static class CaseTensors
{
    /// <summary>Seeds taken from the case's own on; a case's further tensors take those after them.</summary>
    internal const int NumSeeds = 4;
}

/// <typeparam name="T">Element type of the case.</typeparam>
/// <typeparam name="TElements">Its conversions.</typeparam>
internal sealed class CaseTensors<T, TElements> : IDisposable
    where T : unmanaged
    where TElements : IElements<T>
{
    private readonly AttentionShape _shape;
    private readonly AttentionPlan _plan;
    private DeviceCaseTensors<T, TElements>? _onDevice;

    internal CaseTensors(AttentionPlan plan, AttentionShape shape, bool backward, int seed)
    {
        _shape = shape;
        _plan = plan;
        long queryRows = shape.Batch * shape.QueryHeads * shape.QueryLength;
        long keyElements = shape.Batch * shape.KeyHeads * shape.KeyLength * shape.HeadDim;
        long valueElements = shape.Batch * shape.ValueHeads * shape.KeyLength * shape.ValueHeadDim;
        long outputElements = queryRows * shape.ValueHeadDim;
        (Q, float[] q) = Draw(queryRows * shape.HeadDim, seed);
        (K, float[] k) = Draw(keyElements, seed + 1);
        (V, float[] v) = Draw(valueElements, seed + 2);
        (OutputGradient, float[] outputGradient) = Draw(backward ? outputElements : 0, seed + 3);
        Output = new T[outputElements];
        Lse = new float[queryRows];
        QueryGradient = new T[backward ? Q.Length : 0];
        KeyGradient = new T[backward ? K.Length : 0];
        ValueGradient = new T[backward ? V.Length : 0];
        Reference = new ReferenceData(q, k, v) { OutputGradient = outputGradient };
    }

    internal T[] Q { get; }

    internal T[] K { get; }

    internal T[] V { get; }

    internal T[] OutputGradient { get; }

    internal T[] Output { get; }

    internal float[] Lse { get; }

    internal T[] QueryGradient { get; }

    internal T[] KeyGradient { get; }

    internal T[] ValueGradient { get; }

    /// <summary>The inputs as the library sees them, after rounding to the element type.</summary>
    internal ReferenceData Reference { get; }

    /// <summary>What runs of the plan take on a GPU; null on the CPU. Inputs are taken there once.</summary>
    internal DeviceCaseTensors<T, TElements>? OnDevice => _plan.Device is CudaDevice device
        ? _onDevice ??= new DeviceCaseTensors<T, TElements>(device, _plan, this)
        : null;

    /// <summary>The tensor as the library sees it, and the same numbers as floats.</summary>
    internal static (T[] Elements, float[] Rounded) Draw(long count, int seed)
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

    /// <summary>Error of output and LSE on sampled rows.</summary>
    internal double ForwardError(RowReference reference)
    {
        OnDevice?.DownloadOutput();
        return new SampledError<T, TElements>(_shape, reference).OfForward(Output, Lse);
    }

    /// <summary>Error of the output alone on sampled rows.</summary>
    internal double OutputError(RowReference reference)
    {
        OnDevice?.DownloadOutput();
        return new SampledError<T, TElements>(_shape, reference).OfOutput(Output);
    }

    /// <summary>Error of the gradients on sampled rows.</summary>
    internal double BackwardError(RowReference reference)
    {
        OnDevice?.DownloadGradients();
        return new SampledError<T, TElements>(_shape, reference).OfBackward(
            QueryGradient, KeyGradient, ValueGradient);
    }

    public void Dispose() => _onDevice?.Dispose();
}
