// Reads a problem file into one family's record; called by run and draw.
using System;

namespace FusedAttention.Cli.Problems;

internal static class ProblemReader
{
    internal const int MaxFileBytes = 1 << 20;

    private const int MaxAxes = 3;

    private static readonly (string, Family)[] Families =
    [
        ("dense", Family.Dense),
        ("neighborhood", Family.Neighborhood),
        ("lightning", Family.Lightning),
        ("s2", Family.S2),
        ("permuted_block", Family.PermutedBlock),
    ];

    /// <exception cref="BadInputException">The file is unreadable, no strict JSON, or breaks a rule.</exception>
    internal static Problem ReadFile(string path) => Read(InputFile.ReadAll(path, MaxFileBytes), path);

    /// <param name="text">The file's bytes.</param>
    /// <param name="source">The file's name for messages.</param>
    internal static Problem Read(ReadOnlySpan<byte> text, string source)
    {
        ProblemFields fields = StrictJson.ParseObject(text, source, ProblemFields.Read);
        Family family = fields.Choice("family", Families);
        Problem problem = family switch
        {
            Family.Dense => ReadDense(fields),
            Family.Neighborhood => ReadNeighborhood(fields),
            Family.Lightning => ReadLightning(fields),
            Family.S2 => ReadS2(fields),
            _ => ReadPermutedBlock(fields),
        };
        fields.RejectUnknown(NameOf(family));
        return problem;
    }

    /// <summary>The family's name as problem files spell it.</summary>
    internal static string NameOf(Family family) => Array.Find(Families, entry => entry.Item2 == family).Item1;

    private static DenseProblem ReadDense(ProblemFields fields)
    {
        long[] window = fields.Integers("window", (2, 2), -1, long.MaxValue) ?? [-1, -1];
        float softcap = fields.Single("softcap") ?? 0;
        if (softcap < 0)
        {
            throw fields.Fault($"\"softcap\" is {softcap}; expected 0 (off) or a positive number");
        }

        return new DenseProblem
        {
            Layout = ReadLayout(fields),
            Backward = fields.Boolean("backward", absent: false),
            Scale = fields.Single("scale"),
            Causal = fields.Boolean("causal", absent: false),
            Alignment = fields.Choice<CausalAlignment>(
                "causal_alignment",
                [("bottom_right", CausalAlignment.BottomRight), ("top_left", CausalAlignment.TopLeft)],
                CausalAlignment.BottomRight),
            WindowLeft = window[0],
            WindowRight = window[1],
            Softcap = softcap,
        };
    }

    private static NeighborhoodProblem ReadNeighborhood(ProblemFields fields)
    {
        long[] grid = fields.Integers("grid", (1, MaxAxes), 1, int.MaxValue) ?? throw fields.Missing("grid");
        (int, int) axes = (grid.Length, grid.Length);
        long[] kernel = fields.Integers("kernel_size", axes, 1, int.MaxValue) ?? throw fields.Missing("kernel_size");
        long[] stride = fields.Integers("stride", axes, 1, int.MaxValue) ?? Repeat(1L, grid.Length);
        long[] dilation = fields.Integers("dilation", axes, 1, int.MaxValue) ?? Repeat(1L, grid.Length);
        for (int axis = 0; axis < grid.Length; ++axis)
        {
            if (stride[axis] > kernel[axis])
            {
                throw fields.Fault(
                    $"stride is {stride[axis]} on axis {axis}; at most kernel_size {kernel[axis]} is allowed");
            }

            if (kernel[axis] * dilation[axis] > grid[axis])
            {
                throw fields.Fault(
                    $"kernel_size {kernel[axis]} times dilation {dilation[axis]} on axis {axis} exceeds" +
                    $" the grid's {grid[axis]}");
            }
        }

        return new NeighborhoodProblem
        {
            Layout = ReadLayout(fields),
            Backward = fields.Boolean("backward", absent: false),
            Scale = fields.Single("scale"),
            Grid = grid,
            KernelSize = kernel,
            Stride = stride,
            Dilation = dilation,
            Causal = fields.Booleans("causal", axes) ?? Repeat(false, grid.Length),
        };
    }

    private static LightningProblem ReadLightning(ProblemFields fields) => new()
    {
        Layout = ReadLayout(fields),
        Backward = fields.Boolean("backward", absent: false),
        Scale = fields.Single("scale"),
    };

    private static S2Problem ReadS2(ProblemFields fields) => new()
    {
        Layout = ReadLayout(fields),
        Backward = fields.Boolean("backward", absent: false),
        Scale = fields.Single("scale"),
        BlockSize = fields.Integer("block_size", 1, int.MaxValue),
        LocalBlocks = fields.Integer("local_blocks", 1, int.MaxValue),
        VerticalStride = fields.Integer("vertical_stride", 1, int.MaxValue),
        HeadOffset = fields.Integer("head_offset", int.MinValue, int.MaxValue, absent: 0),
        PatternHeads = fields.Choice<PatternHeads>(
            "pattern_heads", [("kv", PatternHeads.KeyValue), ("query", PatternHeads.Query)], PatternHeads.KeyValue),
        DenseHeads = fields.Integer("dense_heads", 0, int.MaxValue, absent: 0),
        Homogeneous = fields.Boolean("homogeneous", absent: false),
        Causal = fields.Boolean("causal", absent: true),
    };

    private static PermutedBlockProblem ReadPermutedBlock(ProblemFields fields)
    {
        long block = fields.Integer("block_size", 1, int.MaxValue, absent: 128);
        long segment = fields.Integer("segment_size", 1, int.MaxValue, absent: 256);
        if (segment % block != 0)
        {
            throw fields.Fault($"segment_size is {segment}; expected a multiple of block_size {block}");
        }

        double coverage = fields.Number("coverage", 0, 1, absent: 0.9);
        if ((float)coverage == 0)
        {
            throw fields.Fault("\"coverage\" is 0; expected a number above 0, at most 1");
        }

        return new PermutedBlockProblem
        {
            Layout = ReadLayout(fields),
            Backward = fields.Boolean("backward", absent: false),
            Scale = fields.Single("scale"),
            BlockSize = block,
            SegmentSize = segment,
            Coverage = coverage,
            Causal = fields.Boolean("causal", absent: true),
        };
    }

    private static AttentionLayout ReadLayout(ProblemFields fields) => fields.Choice<AttentionLayout>(
        "layout",
        [("bhsd", AttentionLayout.HeadsFirst), ("bshd", AttentionLayout.TokensFirst)],
        AttentionLayout.HeadsFirst);

    private static T[] Repeat<T>(T value, int count)
    {
        T[] values = new T[count];
        Array.Fill(values, value);
        return values;
    }
}
