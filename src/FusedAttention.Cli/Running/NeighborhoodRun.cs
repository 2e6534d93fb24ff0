// Runs one neighborhood problem from loaded tensors to stored results; made by the neighborhood inputs.
namespace FusedAttention.Cli.Running;

/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal sealed class NeighborhoodRun<T> : FamilyRun<T>
    where T : unmanaged
{
    private readonly NeighborhoodInputs _inputs;

    internal NeighborhoodRun(NeighborhoodInputs inputs)
        : base(inputs)
    {
        _inputs = inputs;
    }

    internal override string? WhyNotOn(CudaDevice device) =>
        NeighborhoodAttention.IsSupported<T>(_inputs.Shape, MakeOptions(), out string reason, device)
            ? null
            : reason;

    protected override void Compute(AttentionDevice device)
    {
        using NeighborhoodAttentionPlan<T> plan = MakePlan(
            () => new NeighborhoodAttentionPlan<T>(_inputs.Shape, MakeOptions(), device));
        HostTensor<T> q = Load<T>(_inputs.Q);
        HostTensor<T> k = Load<T>(_inputs.K);
        HostTensor<T> v = Load<T>(_inputs.V);
        bool hasAdditional = _inputs.NumAdditional > 0;
        NeighborhoodForwardArguments<T> forward = new()
        {
            Query = q,
            Key = k,
            Value = v,
            Output = MakeOutput(),
            Lse = MakeLse(),
            AdditionalKey = hasAdditional ? Load<T>(_inputs.AdditionalK!) : null,
            AdditionalValue = hasAdditional ? Load<T>(_inputs.AdditionalV!) : null,
        };
        Report("computing the output");
        plan.Forward(in forward);
        if (_inputs.Problem.Backward)
        {
            AddGradients(plan, in forward);
        }
    }

    private void AddGradients(NeighborhoodAttentionPlan<T> plan, in NeighborhoodForwardArguments<T> forward)
    {
        (HostTensor<float> dq, HostTensor<float> dk, HostTensor<float> dv) = MakeGradients();
        HostTensor<float>? additionalK = null;
        HostTensor<float>? additionalV = null;
        if (_inputs.AdditionalK is { } keys && _inputs.AdditionalV is { } values)
        {
            additionalK = MakeResult("d_additional_k", keys.Shape);
            additionalV = MakeResult("d_additional_v", values.Shape);
        }

        bool hasAdditional = _inputs.NumAdditional > 0;
        NeighborhoodBackwardArguments<T> backward = new()
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Output = forward.Output,
            Lse = forward.Lse,
            GradOutput = LoadOutputGradient(_inputs.OutputGradient!),
            GradLse = LoadOptional<float>(_inputs.LseGradient),
            AdditionalKey = forward.AdditionalKey,
            AdditionalValue = forward.AdditionalValue,
            GradQuery = TensorOut<T>.Float32(dq),
            GradKey = TensorOut<T>.Float32(dk),
            GradValue = TensorOut<T>.Float32(dv),
            GradAdditionalKey = hasAdditional ? TensorOut<T>.Float32(additionalK!) : default,
            GradAdditionalValue = hasAdditional ? TensorOut<T>.Float32(additionalV!) : default,
        };
        Report("computing gradients");
        plan.Backward(in backward);
    }

    private NeighborhoodOptions MakeOptions() =>
        NeighborhoodPlanOptions.From(_inputs.Problem) with
        {
            AdditionalKeys = _inputs.NumAdditional,
            Float32Output = true,
            Float32Gradients = true,
        };
}
