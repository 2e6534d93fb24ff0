// Runs one lightning problem from loaded tensors to stored results; made by the lightning inputs.
namespace FusedAttention.Cli.Running;

/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal sealed class LightningRun<T> : FamilyRun<T>
    where T : unmanaged
{
    private readonly LightningInputs _inputs;

    internal LightningRun(LightningInputs inputs)
        : base(inputs)
    {
        _inputs = inputs;
    }

    internal override string? WhyNotOn(CudaDevice device) =>
        LightningAttention.IsSupported<T>(_inputs.Shape, MakeOptions(), out string reason, device)
            ? null
            : reason;

    protected override void Compute(AttentionDevice device)
    {
        using LightningAttentionPlan<T> plan = MakePlan(
            () => new LightningAttentionPlan<T>(_inputs.Shape, MakeOptions(), device));
        LightningForwardArguments<T> forward = new()
        {
            Query = Load<T>(_inputs.Q),
            Key = Load<T>(_inputs.K),
            Value = Load<T>(_inputs.V),
            Slopes = Load<float>(_inputs.Slopes).AsSpan(),
            InitialState = LoadOptional<float>(_inputs.InitialState),
            Output = MakeOutput(),
            FinalState = MakeResult("final_state", _inputs.StateShape),
        };
        Report("computing the output");
        plan.Forward(in forward);
        if (_inputs.Problem.Backward)
        {
            AddGradients(plan, in forward);
        }
    }

    private void AddGradients(LightningAttentionPlan<T> plan, in LightningForwardArguments<T> forward)
    {
        (HostTensor<float> dq, HostTensor<float> dk, HostTensor<float> dv) = MakeGradients();
        LightningBackwardArguments<T> backward = new()
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Slopes = forward.Slopes,
            InitialState = forward.InitialState,
            GradOutput = LoadOutputGradient(_inputs.OutputGradient!),
            GradFinalState = LoadOptional<float>(_inputs.FinalStateGradient),
            GradQuery = TensorOut<T>.Float32(dq),
            GradKey = TensorOut<T>.Float32(dk),
            GradValue = TensorOut<T>.Float32(dv),
            GradInitialState = _inputs.InitialState is null ? null : MakeResult("d_initial_state", _inputs.StateShape),
        };
        Report("computing gradients");
        plan.Backward(in backward);
    }

    private LightningOptions MakeOptions() => new()
    {
        Scale = _inputs.Problem.Scale,
        InitialState = _inputs.InitialState is not null,
        Backward = _inputs.Problem.Backward,
        Float32Output = true,
        Float32Gradients = true,
    };
}
