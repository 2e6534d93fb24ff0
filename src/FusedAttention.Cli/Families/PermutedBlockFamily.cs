// Permuted block-sparse attention for the verbs; listed in FamilyRegistry.
using System;
using System.Collections.Generic;
using System.Globalization;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Families;

internal sealed class PermutedBlockFamily : AttentionFamily
{
    internal override Family Family => Family.PermutedBlock;

    internal override string FieldsHelp =>
        "block_size (128), segment_size (256), coverage (0.9), causal (true)";

    internal override string TensorsHelp =>
        "q [B,Hq,Lq,D], k [B,Hk,Lk,D], v [B,Hv,Lk,Dv]; optional permutation [B,Hq,Lk] with block_mask u8" +
        " [B,Hq,nQ,nK] (both or neither; without them the blocks are selected), do, dlse";

    internal override string ResultsHelp => "o, lse, permutation, block_mask; backward: dq, dk, dv";

    protected override string[] OptionalTensors => ["permutation", "block_mask", "do", "dlse"];

    internal override ScheduleDrawing Draw(Problem problem, DrawSizes sizes, AttentionDevice device)
    {
        PermutedBlockOptions options =
            PermutedBlockPlanOptions.From((PermutedBlockProblem)problem) with { Backward = false };
        AttentionShape shape = sizes.Shape() with { Layout = AttentionLayout.HeadsFirst };
        string source = sizes.Inputs is null ? "a sample input" : "the input";
        string words = string.Create(CultureInfo.InvariantCulture,
            $"permuted block, coverage {options.Coverage:G3}, selected on {source}");
        if (sizes.Inputs is not PermutedBlockInputs inputs)
        {
            (float[] q, float[] k) = PermutedBlockSample.Make(shape, options);
            return PermutedBlockDrawing.Selected(shape, options, q, k, device, words);
        }

        shape = inputs.Shape;
        SafetensorsReader reader = inputs.Tensors.Reader;
        if (inputs.Permutation is { } order && inputs.BlockMask is { } mask)
        {
            using PermutedBlockAttentionPlan<float> plan = new(shape, options, device);
            byte[] kept = new byte[mask.NumElements];
            reader.Read(mask, (bytes, first) => bytes.CopyTo(kept.AsSpan((int)first, bytes.Length)));
            return PermutedBlockDrawing.Given(
                plan, TensorLoader.LoadIndices(reader, order), kept, "permuted block, given blocks");
        }

        using HostTensor<float> queries = TensorLoader.Load<float>(reader, inputs.Q);
        using HostTensor<float> keys = TensorLoader.Load<float>(reader, inputs.K);
        return PermutedBlockDrawing.Selected(shape, options, queries, keys, device, words);
    }

    internal override IEnumerable<MeasuredCase> DemoCases(long divisor) => PermutedBlockCases.Demo(divisor);

    internal override IEnumerable<PatternMap> DemoMaps(AttentionDevice device) =>
        PermutedBlockCases.DemoMaps(device);

    internal override IEnumerable<MeasuredCase> BenchCases() => PermutedBlockCases.Bench();

    internal override ScalingSeries Scaling => PermutedBlockCases.Scaling;

    protected override FamilyInputs MakeInputs(Problem problem, TensorSet tensors) =>
        new PermutedBlockInputs((PermutedBlockProblem)problem, tensors);
}
