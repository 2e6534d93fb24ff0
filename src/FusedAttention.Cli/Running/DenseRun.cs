// Runs one dense problem from loaded tensors to stored results; used by the run verb.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

/// <summary>Owns all tensors of the run; outputs and gradients are float whatever the inputs are.</summary>
/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal sealed class DenseRun<T> : IDisposable
    where T : unmanaged
{
    private readonly DenseProblem _problem;
    private readonly DenseInputs _inputs;
    private readonly SafetensorsReader _reader;
    private readonly PackedLengths? _packed;
    private readonly HostTensor<float>? _bias;
    private readonly HostTensor<float>? _slopes;
    private readonly HostTensor<float>? _sinks;
    private readonly List<IDisposable> _tensors = [];

    internal DenseRun(DenseProblem problem, DenseInputs inputs, SafetensorsReader reader)
    {
        _problem = problem;
        _inputs = inputs;
        _reader = reader;
        _packed = PackedLengths.Load(reader, inputs);
        _bias = LoadOptional<float>(inputs.Bias);
        _slopes = LoadOptional<float>(inputs.AlibiSlopes);
        _sinks = LoadOptional<float>(inputs.SinkLogits);
    }

    /// <summary>Makes the plan and runs it, forward and where asked backward.</summary>
    /// <returns>The results; their memory is this object's.</returns>
    /// <exception cref="BadInputException">The library refuses shape or options.</exception>
    internal List<OutputTensor> Run(AttentionDevice device)
    {
        using DenseAttentionPlan<T> plan = MakePlan(device);
        AttentionShape shape = _inputs.Shape;
        HostTensor<T> q = Load<T>(_inputs.Q);
        HostTensor<T> k = Load<T>(_inputs.K);
        HostTensor<T> v = Load<T>(_inputs.V);
        HostTensor<float> o = Make(_inputs.Arrange(shape.QueryHeads, shape.QueryLength, shape.ValueHeadDim));
        HostTensor<float> lse = Make([shape.Batch, shape.QueryHeads, shape.QueryLength]);

        // Packed tokens after the last sequence belong to nobody: like rows that see no key.
        Fill(lse, float.NegativeInfinity);
        DenseForwardArguments<T> forward = new()
        {
            Query = q,
            Key = k,
            Value = v,
            Output = TensorOut<T>.Float32(o),
            Lse = lse,
            Bias = Float32(_bias),
            AlibiSlopes = Span(_slopes),
            SinkLogits = Span(_sinks),
        };
        if (_packed is not null)
        {
            forward.CumulativeQueryLengths = _packed.Queries;
            forward.CumulativeKeyLengths = _packed.Keys;
        }

        plan.Forward(in forward);
        List<OutputTensor> results = [TensorLoader.Store("o", o), TensorLoader.Store("lse", lse)];
        if (_problem.Backward)
        {
            AddGradients(plan, in forward, results);
        }

        return results;
    }

    public void Dispose()
    {
        foreach (IDisposable tensor in _tensors)
        {
            tensor.Dispose();
        }
    }

    private void AddGradients(
        DenseAttentionPlan<T> plan, in DenseForwardArguments<T> forward, List<OutputTensor> results)
    {
        AttentionShape shape = _inputs.Shape;
        HostTensor<float> outputGradient = LoadRounded(_inputs.OutputGradient!);
        HostTensor<float>? lseGradient = LoadOptional<float>(_inputs.LseGradient);
        HostTensor<float> dq = Make(_inputs.Arrange(shape.QueryHeads, shape.QueryLength, shape.HeadDim));
        HostTensor<float> dk = Make(_inputs.Arrange(shape.KeyHeads, shape.KeyLength, shape.HeadDim));
        HostTensor<float> dv = Make(_inputs.Arrange(shape.ValueHeads, shape.KeyLength, shape.ValueHeadDim));
        HostTensor<float>? dbias = _inputs.Bias is { } bias ? Make(bias.Shape) : null;
        HostTensor<float>? dsinks = _sinks is null ? null : Make([shape.QueryHeads]);
        DenseBackwardArguments<T> backward = new()
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Output = forward.Output,
            Lse = forward.Lse,
            GradOutput = TensorIn<T>.Float32(outputGradient),
            GradLse = lseGradient,
            Bias = forward.Bias,
            AlibiSlopes = forward.AlibiSlopes,
            SinkLogits = forward.SinkLogits,
            CumulativeQueryLengths = forward.CumulativeQueryLengths,
            CumulativeKeyLengths = forward.CumulativeKeyLengths,
            GradQuery = TensorOut<T>.Float32(dq),
            GradKey = TensorOut<T>.Float32(dk),
            GradValue = TensorOut<T>.Float32(dv),
            GradBias = dbias,
            GradSinkLogits = dsinks is null ? default : dsinks.AsSpan(),
        };
        plan.Backward(in backward);
        results.Add(TensorLoader.Store("dq", dq));
        results.Add(TensorLoader.Store("dk", dk));
        results.Add(TensorLoader.Store("dv", dv));
        if (dbias is not null)
        {
            results.Add(TensorLoader.Store("dbias", dbias));
        }

        if (dsinks is not null)
        {
            results.Add(TensorLoader.Store("dsink_logits", dsinks));
        }
    }

    private DenseAttentionPlan<T> MakePlan(AttentionDevice device)
    {
        try
        {
            return new DenseAttentionPlan<T>(_inputs.Shape, MakeOptions(), device);
        }
        catch (ArgumentException error)
        {
            throw new BadInputException(error.Message, error);
        }
    }

    private DenseOptions MakeOptions() => DensePlanOptions.From(_problem) with
    {
        Bias = _inputs.Bias is { } bias
            ? new BiasOptions { PerBatch = bias.Shape[0] > 1, PerHead = bias.Shape[1] > 1 }
            : null,
        Alibi = _slopes is not null,
        Sinks = _sinks is not null,
        Packed = _packed?.Options,
        Float32Output = true,
        Float32Gradients = true,
    };

    private static ReadOnlySpan<float> Span(HostTensor<float>? tensor) => tensor is null ? default : tensor.AsSpan();

    private static TensorIn<T> Float32(HostTensor<float>? tensor) =>
        tensor is null ? default : TensorIn<T>.Float32(tensor);

    private static void Fill(HostTensor<float> tensor, float value)
    {
        for (long at = 0; at < tensor.Length; at += int.MaxValue)
        {
            tensor.Buffer.AsSpan(at, (int)Math.Min(int.MaxValue, tensor.Length - at)).Fill(value);
        }
    }

    private HostTensor<TElement> Load<TElement>(TensorEntry entry)
        where TElement : unmanaged => Keep(TensorLoader.Load<TElement>(_reader, entry));

    private HostTensor<TElement>? LoadOptional<TElement>(TensorEntry? entry)
        where TElement : unmanaged => entry is null ? null : Load<TElement>(entry);

    // The gradient of a float output is float itself; it is still rounded to the type of the call first.
    private HostTensor<float> LoadRounded(TensorEntry entry)
    {
        if (typeof(T) == typeof(float))
        {
            return Load<float>(entry);
        }

        using HostTensor<T> rounded = TensorLoader.Load<T>(_reader, entry);
        HostTensor<float> widened = Make(entry.Shape);
        TensorDtype from = typeof(T) == typeof(Half) ? TensorDtype.F16 : TensorDtype.BF16;
        for (long at = 0; at < rounded.Length; at += 1 << 20)
        {
            int count = (int)Math.Min(1 << 20, rounded.Length - at);
            ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(rounded.Buffer.AsSpan(at, count));
            ElementConversion.ToSingle(from, bytes, widened.Buffer.AsSpan(at, count));
        }

        return widened;
    }

    private HostTensor<float> Make(ReadOnlySpan<long> shape) => Keep(new HostTensor<float>(shape));

    private HostTensor<TElement> Keep<TElement>(HostTensor<TElement> tensor)
        where TElement : unmanaged
    {
        _tensors.Add(tensor);
        return tensor;
    }
}
