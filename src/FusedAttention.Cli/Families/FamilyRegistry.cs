// The families this version can run; every verb that takes a problem, and the help texts, ask here.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Families;

internal static class FamilyRegistry
{
    /// <summary>In the order in which they are shown.</summary>
    internal static IReadOnlyList<AttentionFamily> Available { get; } =
    [
        new DenseFamily(),
        new NeighborhoodFamily(),
        new S2Family(),
        new LightningFamily(),
        new PermutedBlockFamily(),
    ];

    /// <summary>The family of a problem.</summary>
    /// <exception cref="UnsupportedException">This version does not compute it.</exception>
    internal static AttentionFamily Require(Problem problem) =>
        Available.FirstOrDefault(family => family.Family == problem.Family) ?? throw new UnsupportedException(
            $"family {ProblemReader.NameOf(problem.Family)} is not available yet in this version;" +
            $" available: {NamesOfAvailable()}");

    /// <summary>"dense; not yet: neighborhood, ...".</summary>
    internal static string Describe()
    {
        string[] missing =
        [
            .. Enum.GetValues<Family>()
                .Where(static family => Available.All(entry => entry.Family != family))
                .Select(ProblemReader.NameOf),
        ];
        string available = NamesOfAvailable();
        return missing.Length == 0 ? available : $"{available}; not yet: {string.Join(", ", missing)}";
    }

    private static string NamesOfAvailable() => string.Join(", ", Available.Select(static family => family.Name));
}
