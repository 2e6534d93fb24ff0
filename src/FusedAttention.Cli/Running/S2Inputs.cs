// The tensors of an S2 problem, found in a file and checked against each other; made by the S2 family.
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Running;

internal sealed class S2Inputs : FamilyInputs
{
    /// <exception cref="BadInputException">A tensor or a field does not fit the others.</exception>
    internal S2Inputs(S2Problem problem, TensorSet tensors)
        : base(problem, tensors)
    {
        Problem = problem;
        RequireOneType();
        RequireFloats(LseGradient);
        CheckGradients();
        bool isPerQuery = problem.PatternHeads == PatternHeads.Query;
        long heads = isPerQuery ? Shape.QueryHeads : Shape.KeyHeads;
        if (problem.DenseHeads > heads)
        {
            throw new BadInputException(
                $"\"dense_heads\" is {problem.DenseHeads}; expected an integer in 0..{heads}, the heads of "
                + (isPerQuery ? "q" : "k"));
        }
    }

    internal S2Problem Problem { get; }

    internal override FamilyRun<T> MakeRun<T>() => new S2Run<T>(this);
}
