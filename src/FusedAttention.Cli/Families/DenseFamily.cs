// Dense attention for the verbs; listed in FamilyRegistry.
using System.Collections.Generic;
using System.Globalization;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;

namespace FusedAttention.Cli.Families;

internal sealed class DenseFamily : AttentionFamily
{
    internal override Family Family => Family.Dense;

    internal override string FieldsHelp =>
        "causal (false), causal_alignment (\"bottom_right\" or \"top_left\"), window ([left, right], -1 open)," +
        " softcap (0)";

    internal override string TensorsHelp =>
        "q [B,Hq,Lq,D], k [B,Hk,Lk,D], v [B,Hv,Lk,Dv]; optional bias [B or 1,Hq or 1,Lq,Lk], alibi_slopes [Hq]," +
        " sink_logits [Hq], cu_seqlens_q and cu_seqlens_k [n+1] (bias is then [n or 1,Hq or 1,longest q,longest k])," +
        " do, dlse";

    internal override string ResultsHelp => "o, lse; backward: dq, dk, dv, dbias, dsink_logits";

    protected override string[] OptionalTensors =>
        ["bias", "alibi_slopes", "sink_logits", "cu_seqlens_q", "cu_seqlens_k", "do", "dlse"];

    internal override ScheduleDrawing Draw(Problem problem, DrawSizes sizes, AttentionDevice device)
    {
        DenseOptions options = DensePlanOptions.From((DenseProblem)problem) with { Backward = false };
        using DenseAttentionPlan<float> plan = new(sizes.Shape(), options, device);
        return ScheduleDrawing.Of(plan, plan.Shape, Describe(options));
    }

    internal override IEnumerable<MeasuredCase> DemoCases(long divisor) => DenseCases.Demo(divisor);

    internal override IEnumerable<PatternMap> DemoMaps(AttentionDevice device) => DenseCases.DemoMaps(device);

    internal override IEnumerable<MeasuredCase> BenchCases() => DenseCases.Bench();

    protected override FamilyInputs MakeInputs(Problem problem, TensorSet tensors) =>
        new DenseInputs((DenseProblem)problem, tensors);

    private static string Describe(DenseOptions options)
    {
        List<string> words = ["dense"];
        if (options.Causal)
        {
            words.Add("causal");
        }

        if (options.CausalAlignment == CausalAlignment.TopLeft)
        {
            words.Add("top left");
        }

        if (options.Window is { } window)
        {
            words.Add($"window {Side(window.Left)} left, {Side(window.Right)} right");
        }

        return string.Join(" ", words);
    }

    private static string Side(long? keys) => keys?.ToString(CultureInfo.InvariantCulture) ?? "open";
}
