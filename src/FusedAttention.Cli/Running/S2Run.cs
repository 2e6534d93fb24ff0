// Runs one S2 problem from loaded tensors to stored results; made by the S2 inputs.
namespace FusedAttention.Cli.Running;

/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal sealed class S2Run<T> : FamilyRun<T>
    where T : unmanaged
{
    private readonly S2Inputs _inputs;

    internal S2Run(S2Inputs inputs)
        : base(inputs)
    {
        _inputs = inputs;
    }

    internal override string? WhyNotOn(CudaDevice device) =>
        S2Attention.IsSupported<T>(_inputs.Shape, MakeOptions(), out string reason, device)
            ? null
            : reason;

    protected override void Compute(AttentionDevice device)
    {
        S2Options options = MakeOptions();
        using S2AttentionPlan<T> plan = MakePlan(() => new S2AttentionPlan<T>(_inputs.Shape, options, device));
        S2ForwardArguments<T> forward = new()
        {
            Query = Load<T>(_inputs.Q),
            Key = Load<T>(_inputs.K),
            Value = Load<T>(_inputs.V),
            Output = MakeOutput(),
            Lse = MakeLse(),
        };
        Report("computing the output");
        plan.Forward(in forward);
        if (!options.Backward)
        {
            return;
        }

        (HostTensor<float> dq, HostTensor<float> dk, HostTensor<float> dv) = MakeGradients();
        S2BackwardArguments<T> backward = new()
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Output = forward.Output,
            Lse = forward.Lse,
            GradOutput = LoadOutputGradient(_inputs.OutputGradient!),
            GradLse = LoadOptional<float>(_inputs.LseGradient),
            GradQuery = TensorOut<T>.Float32(dq),
            GradKey = TensorOut<T>.Float32(dk),
            GradValue = TensorOut<T>.Float32(dv),
        };
        Report("computing gradients");
        plan.Backward(in backward);
    }

    private S2Options MakeOptions() => S2PlanOptions.From(_inputs.Problem) with
    {
        Float32Output = true,
        Float32Gradients = true,
    };
}
