// Runs one dense problem from loaded tensors to stored results; made by the dense inputs.
using System;

namespace FusedAttention.Cli.Running;

/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal sealed class DenseRun<T> : FamilyRun<T>
    where T : unmanaged
{
    private readonly DenseInputs _inputs;
    private readonly PackedLengths? _packed;
    private readonly HostTensor<float>? _bias;
    private readonly HostTensor<float>? _slopes;
    private readonly HostTensor<float>? _sinks;

    internal DenseRun(DenseInputs inputs)
        : base(inputs)
    {
        _inputs = inputs;
        _packed = PackedLengths.Load(inputs);
        if (_packed is not null)
        {
            inputs.CheckPackedBias(_packed.Options);
        }

        _bias = LoadOptional<float>(inputs.Bias);
        _slopes = LoadOptional<float>(inputs.AlibiSlopes);
        _sinks = LoadOptional<float>(inputs.SinkLogits);
    }

    internal override string? WhyNotOn(CudaDevice device) =>
        DenseAttention.IsSupported<T>(_inputs.Shape, MakeOptions(), out string reason, device)
            ? null
            : reason;

    protected override void Compute(AttentionDevice device)
    {
        using DenseAttentionPlan<T> plan = MakePlan(
            () => new DenseAttentionPlan<T>(_inputs.Shape, MakeOptions(), device));
        HostTensor<T> q = Load<T>(_inputs.Q);
        HostTensor<T> k = Load<T>(_inputs.K);
        HostTensor<T> v = Load<T>(_inputs.V);
        DenseForwardArguments<T> forward = new()
        {
            Query = q,
            Key = k,
            Value = v,
            Output = MakeOutput(),
            Lse = MakeLse(),
            Bias = Float32(_bias),
            AlibiSlopes = Span(_slopes),
            SinkLogits = Span(_sinks),
        };
        if (_packed is not null)
        {
            forward.CumulativeQueryLengths = _packed.Queries;
            forward.CumulativeKeyLengths = _packed.Keys;
        }

        Report("computing the output");
        plan.Forward(in forward);
        if (_inputs.Problem.Backward)
        {
            AddGradients(plan, in forward);
        }
    }

    private void AddGradients(DenseAttentionPlan<T> plan, in DenseForwardArguments<T> forward)
    {
        (HostTensor<float> dq, HostTensor<float> dk, HostTensor<float> dv) = MakeGradients();
        HostTensor<float>? dbias = _inputs.Bias is { } bias ? MakeResult("dbias", bias.Shape) : null;
        HostTensor<float>? dsinks = _sinks is null ? null : MakeResult("dsink_logits", _inputs.Shape.QueryHeads);
        DenseBackwardArguments<T> backward = new()
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Output = forward.Output,
            Lse = forward.Lse,
            GradOutput = LoadOutputGradient(_inputs.OutputGradient!),
            GradLse = LoadOptional<float>(_inputs.LseGradient),
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
        Report("computing gradients");
        plan.Backward(in backward);
    }

    private DenseOptions MakeOptions() => DensePlanOptions.From(_inputs.Problem) with
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
}
