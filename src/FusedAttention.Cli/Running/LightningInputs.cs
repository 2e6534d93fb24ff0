// The tensors of a lightning problem, found in a file and checked against each other; made by the lightning family.
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal sealed class LightningInputs : FamilyInputs
{
    /// <exception cref="BadInputException">A tensor does not fit the others.</exception>
    internal LightningInputs(LightningProblem problem, TensorSet tensors)
        : base(problem, tensors)
    {
        Problem = problem;
        Slopes = tensors["slopes"];
        InitialState = tensors.Find("initial_state");
        FinalStateGradient = tensors.Find("d_final_state");
        Require(
            Shape.KeyLength == Shape.QueryLength, K, $"L = {Shape.QueryLength} tokens as in q {Q.ShapeText}");
        Require(Shape.ValueHeads == Shape.KeyHeads, V, $"{Shape.KeyHeads} heads as in k {K.ShapeText}");
        RequireOneType();
        RequireFloats(Slopes, InitialState, FinalStateGradient);
        RequireShape(Slopes, [Shape.QueryHeads], "[Hq]");
        long[] state = StateShape;
        RequireShape(InitialState, state, "[B, Hq, D, Dv]");
        RequireShape(FinalStateGradient, state, "[B, Hq, D, Dv]");
        CheckGradients();
    }

    internal LightningProblem Problem { get; }

    internal TensorEntry Slopes { get; }

    internal TensorEntry? InitialState { get; }

    internal TensorEntry? FinalStateGradient { get; }

    internal long[] StateShape => [Shape.Batch, Shape.QueryHeads, Shape.HeadDim, Shape.ValueHeadDim];

    internal override FamilyRun<T> MakeRun<T>() => new LightningRun<T>(this);
}
