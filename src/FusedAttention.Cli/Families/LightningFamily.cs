// Lightning (linear) attention for the verbs; listed in FamilyRegistry.
using System.Collections.Generic;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;

namespace FusedAttention.Cli.Families;

internal sealed class LightningFamily : AttentionFamily
{
    internal override Family Family => Family.Lightning;

    internal override string FieldsHelp => "none of its own; scale is 1 unless given";

    internal override string TensorsHelp =>
        "q [B,Hq,L,D], k [B,Hk,L,D], v [B,Hk,L,Dv], slopes [Hq]; optional initial_state [B,Hq,D,Dv], do," +
        " d_final_state [B,Hq,D,Dv]";

    internal override string ResultsHelp => "o, final_state; backward: dq, dk, dv, d_initial_state";

    protected override string[] RequiredTensors => ["q", "k", "v", "slopes"];

    protected override string[] OptionalTensors => ["initial_state", "do", "d_final_state"];

    internal override ScheduleDrawing Draw(Problem problem, DrawSizes sizes, AttentionDevice device) =>
        throw new UnsupportedException(
            "family lightning has no schedule to draw: every token is visited once, beside a state that stands for" +
            " all tokens before it");

    internal override IEnumerable<MeasuredCase> DemoCases(long divisor) => LightningCases.Demo(divisor);

    internal override IEnumerable<PatternMap> DemoMaps(AttentionDevice device) => [];

    internal override IEnumerable<MeasuredCase> BenchCases() => LightningCases.Bench();

    internal override ScalingSeries Scaling => LightningCases.Scaling;

    protected override FamilyInputs MakeInputs(Problem problem, TensorSet tensors) =>
        new LightningInputs((LightningProblem)problem, tensors);
}
