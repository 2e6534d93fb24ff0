// Runs one permuted block-sparse problem from loaded tensors to stored results; made by its inputs.
namespace FusedAttention.Cli.Running;

/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal sealed class PermutedBlockRun<T> : FamilyRun<T>
    where T : unmanaged
{
    private readonly PermutedBlockInputs _inputs;

    internal PermutedBlockRun(PermutedBlockInputs inputs)
        : base(inputs)
    {
        _inputs = inputs;
    }

    internal override string? WhyNotOn(CudaDevice device) =>
        PermutedBlockAttention.IsSupported<T>(_inputs.Shape, MakeOptions(), out string reason, device)
            ? null
            : reason;

    protected override void Compute(AttentionDevice device)
    {
        using PermutedBlockAttentionPlan<T> plan = MakePlan(
            () => new PermutedBlockAttentionPlan<T>(_inputs.Shape, MakeOptions(), device));
        HostTensor<T> q = Load<T>(_inputs.Q);
        HostTensor<T> k = Load<T>(_inputs.K);
        HostTensor<T> v = Load<T>(_inputs.V);
        TensorOut<T> o = MakeOutput();
        HostTensor<float> lse = MakeLse();
        HostTensor<int> permutation = MakeIndexResult("permutation", _inputs.PermutationShape);
        HostTensor<byte> blockMask = MakeByteResult("block_mask", _inputs.MaskShape);
        if (_inputs.Permutation is { } order && _inputs.BlockMask is { } mask)
        {
            ReadIndices(order, permutation);
            ReadBytes(mask, blockMask);
        }
        else
        {
            Report("selecting blocks");
            plan.Select(q, k, permutation, blockMask);
        }

        PermutedBlockForwardArguments<T> forward = new()
        {
            Query = q,
            Key = k,
            Value = v,
            Output = o,
            Lse = lse,
            Permutation = permutation,
            BlockMask = blockMask,
        };
        Report("computing the output");
        plan.Forward(in forward);
        if (_inputs.Problem.Backward)
        {
            AddGradients(plan, in forward);
        }
    }

    private void AddGradients(PermutedBlockAttentionPlan<T> plan, in PermutedBlockForwardArguments<T> forward)
    {
        (HostTensor<float> dq, HostTensor<float> dk, HostTensor<float> dv) = MakeGradients();
        PermutedBlockBackwardArguments<T> backward = new()
        {
            Query = forward.Query,
            Key = forward.Key,
            Value = forward.Value,
            Output = forward.Output,
            Lse = forward.Lse,
            GradOutput = LoadOutputGradient(_inputs.OutputGradient!),
            GradLse = LoadOptional<float>(_inputs.LseGradient),
            Permutation = forward.Permutation,
            BlockMask = forward.BlockMask,
            GradQuery = TensorOut<T>.Float32(dq),
            GradKey = TensorOut<T>.Float32(dk),
            GradValue = TensorOut<T>.Float32(dv),
        };
        Report("computing gradients");
        plan.Backward(in backward);
    }

    private PermutedBlockOptions MakeOptions() =>
        PermutedBlockPlanOptions.From(_inputs.Problem) with
        {
            Float32Output = true,
            Float32Gradients = true,
        };
}
