// Neighborhood attention for the verbs; listed in FamilyRegistry.
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;

namespace FusedAttention.Cli.Families;

internal sealed class NeighborhoodFamily : AttentionFamily
{
    internal override Family Family => Family.Neighborhood;

    internal override string FieldsHelp =>
        "grid, kernel_size (required), stride (1s), dilation (1s), causal (falses), arrays of one entry for each of" +
        " the 1 to 3 axes";

    internal override string TensorsHelp =>
        "q [B,Hq,L,D], k [B,Hk,L,D], v [B,Hk,L,Dv] with L = product of grid, tokens row-major; optional additional_k" +
        " [B,Hk,E,D] and additional_v [B,Hk,E,Dv], do, dlse";

    internal override string ResultsHelp => "o, lse; backward: dq, dk, dv, d_additional_k, d_additional_v";

    protected override string[] OptionalTensors => ["additional_k", "additional_v", "do", "dlse"];

    internal override ScheduleDrawing Draw(Problem problem, DrawSizes sizes, AttentionDevice device)
    {
        NeighborhoodOptions options = NeighborhoodPlanOptions.From((NeighborhoodProblem)problem) with
        {
            Backward = false,
        };
        if ((sizes.QueryLength ?? options.Tokens) != options.Tokens
            || (sizes.KeyLength ?? options.Tokens) != options.Tokens)
        {
            throw new BadInputException(
                $"--q-len or --kv-len differs from the {options.Tokens} tokens of the problem's grid; leave them out");
        }

        return Draw(sizes.Shape(options.Tokens), options, device);
    }

    internal override IEnumerable<MeasuredCase> DemoCases(long divisor) => NeighborhoodCases.Demo(divisor);

    internal override IEnumerable<PatternMap> DemoMaps(AttentionDevice device)
    {
        foreach ((string name, NeighborhoodOptions options) in NeighborhoodCases.Patterns())
        {
            foreach (PatternMap map in Draw(new AttentionShape(1, 1, options.Tokens, 64), options, device).Maps)
            {
                yield return map.Rename(name);
            }
        }
    }

    internal override IEnumerable<MeasuredCase> BenchCases() => NeighborhoodCases.Bench();

    internal override ScalingSeries Scaling => NeighborhoodCases.Scaling();

    protected override FamilyInputs MakeInputs(Problem problem, TensorSet tensors) =>
        new NeighborhoodInputs((NeighborhoodProblem)problem, tensors);

    private static ScheduleDrawing Draw(AttentionShape shape, NeighborhoodOptions options, AttentionDevice device)
    {
        using NeighborhoodAttentionPlan<float> plan = new(shape, options, device);
        return ScheduleDrawing.Of(plan, shape, Describe(options) + " in patch order");
    }

    private static string Describe(NeighborhoodOptions options) =>
        $"neighborhood {Join(options, static axis => axis.Extent)}"
        + $" window {Join(options, static axis => axis.KernelSize)}"
        + Unless(options, 1, "stride", static axis => axis.Stride)
        + Unless(options, 1, "dilation", static axis => axis.Dilation)
        + (options.Axes.Any(static axis => axis.Causal)
            ? $" causal along axis {string.Join(
                " and ", Enumerable.Range(0, options.Axes.Count).Where(n => options.Axes[n].Causal))}"
            : "");

    private static string Unless(
        NeighborhoodOptions options, long usual, string word, System.Func<NeighborhoodAxis, long> value) =>
        options.Axes.All(axis => value(axis) == usual) ? "" : $" {word} {Join(options, value)}";

    private static string Join(NeighborhoodOptions options, System.Func<NeighborhoodAxis, long> value) =>
        string.Join("x", options.Axes.Select(value));
}
