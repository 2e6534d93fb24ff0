// S2 attention for the verbs; listed in FamilyRegistry.
using System.Collections.Generic;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;

namespace FusedAttention.Cli.Families;

internal sealed class S2Family : AttentionFamily
{
    private const long DrawnHeads = 8;

    internal override Family Family => Family.S2;

    internal override string FieldsHelp =>
        "block_size, local_blocks, vertical_stride (required), head_offset (0), pattern_heads (\"kv\" or \"query\"),"
        + " dense_heads (0), homogeneous (false), causal (true)";

    internal override string TensorsHelp =>
        "q [B,Hq,Lq,D], k [B,Hk,Lk,D], v [B,Hv,Lk,Dv]; with Lq < Lk the last Lq positions; optional do, dlse";

    internal override string ResultsHelp => "o, lse; backward: dq, dk, dv";

    protected override string[] OptionalTensors => ["do", "dlse"];

    internal override ScheduleDrawing Draw(Problem problem, DrawSizes sizes, AttentionDevice device)
    {
        S2Options options = S2PlanOptions.From((S2Problem)problem) with { Backward = false };
        using S2AttentionPlan<float> plan = new(sizes.Shape(heads: DrawnHeads), options, device);
        return ScheduleDrawing.Of(plan, plan.Shape, Describe(options));
    }

    internal override IEnumerable<MeasuredCase> DemoCases(long divisor) => S2Cases.Demo(divisor);

    internal override IEnumerable<PatternMap> DemoMaps(AttentionDevice device) => S2Cases.DemoMaps(device);

    internal override IEnumerable<MeasuredCase> BenchCases() => S2Cases.Bench();

    protected override FamilyInputs MakeInputs(Problem problem, TensorSet tensors) =>
        new S2Inputs((S2Problem)problem, tensors);

    /// <summary>The pattern in words.</summary>
    internal static string Describe(S2Options options)
    {
        string heads = options.Homogeneous ? "all heads alike"
            : options.PatternHeads == S2PatternHeads.Query ? "a pattern per query head"
            : "a pattern per key head";
        string sides = options.Causal ? "" : " two-sided";
        string dense = options.DenseHeads > 0 && !options.Homogeneous ? $", {options.DenseHeads} dense" : "";
        return $"s2{sides}, blocks of {options.BlockSize}, {options.LocalBlocks} local, stride"
            + $" {options.VerticalStride}, {heads}{dense}";
    }
}
