// The one place that says which families this version can run; asked by every verb that takes a problem file.
using System;
using System.Linq;

namespace FusedAttention.Cli.Problems;

internal static class FamilySupport
{
    private const Family Available = Family.Dense;

    /// <summary>Gives the problem back as dense, the family this version computes.</summary>
    /// <exception cref="UnsupportedException">The problem belongs to another family.</exception>
    internal static DenseProblem RequireAvailable(Problem problem) =>
        problem as DenseProblem ?? throw new UnsupportedException(
            $"family {ProblemReader.NameOf(problem.Family)} is not available yet in this version;" +
            $" available: {ProblemReader.NameOf(Available)}");

    /// <summary>"dense; not yet: neighborhood, ...".</summary>
    internal static string Describe()
    {
        string[] missing =
            [.. Enum.GetValues<Family>().Where(static family => family != Available).Select(ProblemReader.NameOf)];
        return $"{ProblemReader.NameOf(Available)}; not yet: {string.Join(", ", missing)}";
    }
}
