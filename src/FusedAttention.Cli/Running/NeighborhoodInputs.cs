// The tensors of a neighborhood problem, found in a file and checked against each other; made by the neighborhood
// family.
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal sealed class NeighborhoodInputs : FamilyInputs
{
    /// <exception cref="BadInputException">A tensor does not fit the others.</exception>
    internal NeighborhoodInputs(NeighborhoodProblem problem, TensorSet tensors)
        : base(problem, tensors)
    {
        Problem = problem;
        AdditionalK = tensors.Find("additional_k");
        AdditionalV = tensors.Find("additional_v");
        RequireOneType(AdditionalK, AdditionalV);
        RequireFloats(LseGradient);
        long tokens = NeighborhoodPlanOptions.From(problem).Tokens;
        string grid = $"{tokens} tokens as in grid [{string.Join(", ", problem.Grid)}]";
        Require(Shape.QueryLength == tokens, Q, grid);
        Require(Shape.KeyLength == tokens, K, grid);
        Require(Shape.ValueHeads == Shape.KeyHeads, V, $"{Shape.KeyHeads} heads as in k {K.ShapeText}");
        CheckAdditional();
        CheckGradients();
    }

    internal NeighborhoodProblem Problem { get; }

    internal TensorEntry? AdditionalK { get; }

    internal TensorEntry? AdditionalV { get; }

    /// <summary>Additional keys, E; 0 without such tensors.</summary>
    internal long NumAdditional { get; private set; }

    internal override FamilyRun<T> MakeRun<T>() => new NeighborhoodRun<T>(this);

    private void CheckAdditional()
    {
        if (AdditionalK is null != AdditionalV is null)
        {
            string absent = AdditionalK is null ? "additional_k" : "additional_v";
            throw Tensors.Missing(absent, "additional keys come with additional values, or neither");
        }

        if (AdditionalK is not { } keys)
        {
            return;
        }

        Require(keys.Shape.Length == 4, keys, "as many dimensions as k");
        NumAdditional = keys.Shape[Shape.Layout == AttentionLayout.HeadsFirst ? 2 : 1];
        RequireShape(keys, Arrange(Shape.KeyHeads, NumAdditional, Shape.HeadDim), "that of k but for the tokens");
        RequireShape(
            AdditionalV, Arrange(Shape.KeyHeads, NumAdditional, Shape.ValueHeadDim),
            "that of v with the tokens of additional_k");
    }
}
