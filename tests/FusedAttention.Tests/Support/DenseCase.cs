// One dense problem with random data, run through the library or through DenseTruth. Used by the dense tests.
using System;
using System.Linq;

namespace FusedAttention.Tests.Support;

/// <summary>Shape, options and all inputs of a problem; tensors in the order [B, H, L, D], contiguous.</summary>
internal sealed class DenseCase
{
    private DenseCase(AttentionShape shape, DenseOptions options)
    {
        Shape = shape;
        Options = options;
    }

    public AttentionShape Shape { get; }

    public DenseOptions Options { get; }

    public float[] Query { get; private set; } = [];

    public float[] Key { get; private set; } = [];

    public float[] Value { get; private set; } = [];

    public float[] GradOutput { get; private set; } = [];

    public float[] GradLse { get; private set; } = [];

    public float[] Bias { get; private set; } = [];

    public byte[] Mask { get; private set; } = [];

    public float[] AlibiSlopes { get; private set; } = [];

    public float[] SinkLogits { get; private set; } = [];

    public int[] CumulativeQueryLengths { get; init; } = [];

    public int[] CumulativeKeyLengths { get; init; } = [];

    public int[] KeyLengths { get; init; } = [];

    public int[] BlockTable { get; init; } = [];

    public ulong DropoutSeed { get; init; } = 0x0123_4567_89AB_CDEF;

    public ulong DropoutOffset { get; init; } = 7;

    public long QueryPositionOffset { get; init; }

    public long KeyPositionOffset { get; init; }

    /// <summary>Keys that one sequence can hold.</summary>
    public long KeyRows => Options.Paging is { } pages ? pages.Pages * pages.PageSize : Shape.Batch * Shape.KeyLength;

    /// <summary>Batch entries or packed sequences.</summary>
    public long Entries => Options.Packed?.Sequences ?? Shape.Batch;

    /// <summary>Rows of a bias or mask matrix.</summary>
    public long PairRows => Options.Packed?.MaxQueryLength ?? Shape.QueryLength;

    /// <summary>Columns of a bias or mask matrix.</summary>
    public long PairColumns => Options.Packed?.MaxKeyLength ?? Shape.KeyLength;

    /// <summary>A problem whose numbers, normal with deviation 1, are exact in <typeparamref name="T"/>.</summary>
    public static DenseCase Create<T>(
        AttentionShape shape, DenseOptions? options = null, int seed = 1, Func<DenseCase, DenseCase>? with = null)
        where T : unmanaged
    {
        options ??= new DenseOptions();
        var made = new DenseCase(shape, options);
        if (with is not null)
        {
            made = with(made);
        }

        made.Fill<T>(new Random(seed));
        return made;
    }

    /// <summary>A masked problem with given data, which other families are compared with.</summary>
    public static DenseCase Masked(
        AttentionShape shape, float? scale, byte[] mask, float[] query, float[] key, float[] value, float[] gradOutput,
        float[] gradLse) =>
        new(shape, new DenseOptions { Scale = scale, Mask = new MaskOptions(), Backward = true })
        {
            Mask = mask,
            Query = query,
            Key = key,
            Value = value,
            GradOutput = gradOutput,
            GradLse = gradLse,
        };

    /// <summary>The same problem with index tensors and offsets.</summary>
    public DenseCase With(
        int[]? cumulativeQueryLengths = null, int[]? cumulativeKeyLengths = null, int[]? keyLengths = null,
        int[]? blockTable = null, long queryPositionOffset = 0, long keyPositionOffset = 0) =>
        new(Shape, Options)
        {
            CumulativeQueryLengths = cumulativeQueryLengths ?? [],
            CumulativeKeyLengths = cumulativeKeyLengths ?? [],
            KeyLengths = keyLengths ?? [],
            BlockTable = blockTable ?? [],
            QueryPositionOffset = queryPositionOffset,
            KeyPositionOffset = keyPositionOffset,
        };

    /// <summary>The library's forward result in <typeparamref name="T"/>.</summary>
    public DenseResult Forward<T>(AttentionDevice? device = null, int maxThreads = 0)
        where T : unmanaged
    {
        using var plan = new DenseAttentionPlan<T>(Shape, Options, device);
        return Forward(plan, maxThreads);
    }

    /// <summary>The library's forward result through a plan.</summary>
    public DenseResult Forward<T>(DenseAttentionPlan<T> plan, int maxThreads = 0)
        where T : unmanaged
    {
        var output = new T[OutputLength];
        float[] lse = Options.Weights == AttentionWeights.Softmax ? new float[LseLength] : [];
        Forward(plan, maxThreads, output, lse);
        return new DenseResult { Output = Numbers.ToDouble<T>(output), Lse = Numbers.ToDouble<float>(lse) };
    }

    /// <summary>The library's forward and backward results in <typeparamref name="T"/>.</summary>
    public DenseResult ForwardBackward<T>(AttentionDevice? device = null, int maxThreads = 0)
        where T : unmanaged
    {
        using var plan = new DenseAttentionPlan<T>(Shape, Options with { Backward = true }, device);
        var output = new T[OutputLength];
        bool isSoftmax = Options.Weights == AttentionWeights.Softmax;
        float[] lse = isSoftmax ? new float[LseLength] : [];
        Forward(plan, maxThreads, output, lse);
        var gradQuery = new T[Query.Length];
        var gradKey = new T[Key.Length];
        var gradValue = new T[Value.Length];
        float[] gradBias = new float[Bias.Length];
        float[] gradSinks = new float[SinkLogits.Length];
        var arguments = new DenseBackwardArguments<T>
        {
            Query = Numbers.From<T>(Query),
            Key = Numbers.From<T>(Key),
            Value = Numbers.From<T>(Value),
            Output = isSoftmax ? output : default(TensorIn<T>),
            Lse = isSoftmax ? lse : default(TensorIn<float>),
            GradOutput = Numbers.From<T>(GradOutput),
            GradLse = isSoftmax ? GradLse : default(TensorIn<float>),
            Bias = Bias.Length > 0 ? TensorIn<T>.Float32(Bias) : default,
            Mask = Mask.Length > 0 ? Mask : default(TensorIn<byte>),
            AlibiSlopes = AlibiSlopes,
            SinkLogits = SinkLogits,
            CumulativeQueryLengths = CumulativeQueryLengths,
            CumulativeKeyLengths = CumulativeKeyLengths,
            KeyLengths = KeyLengths,
            GradQuery = gradQuery,
            GradKey = gradKey,
            GradValue = gradValue,
            GradBias = Bias.Length > 0 ? gradBias : default(TensorOut<float>),
            GradSinkLogits = gradSinks,
            DropoutSeed = DropoutSeed,
            DropoutOffset = DropoutOffset,
            QueryPositionOffset = QueryPositionOffset,
            KeyPositionOffset = KeyPositionOffset,
            MaxThreads = maxThreads,
        };
        plan.Backward(in arguments);
        return new DenseResult
        {
            Output = Numbers.ToDouble<T>(output),
            Lse = Numbers.ToDouble<float>(lse),
            GradQuery = Numbers.ToDouble<T>(gradQuery),
            GradKey = Numbers.ToDouble<T>(gradKey),
            GradValue = Numbers.ToDouble<T>(gradValue),
            GradBias = Numbers.ToDouble<float>(gradBias),
            GradSinkLogits = Numbers.ToDouble<float>(gradSinks),
        };
    }

    private long OutputLength => Shape.Batch * Shape.QueryHeads * Shape.QueryLength * Shape.ValueHeadDim;

    private long LseLength => Shape.Batch * Shape.QueryHeads * Shape.QueryLength;

    private void Forward<T>(DenseAttentionPlan<T> plan, int maxThreads, T[] output, float[] lse)
        where T : unmanaged
    {
        var arguments = new DenseForwardArguments<T>
        {
            Query = Numbers.From<T>(Query),
            Key = Numbers.From<T>(Key),
            Value = Numbers.From<T>(Value),
            Output = output,
            Lse = lse.Length > 0 ? lse : default(TensorOut<float>),
            Bias = Bias.Length > 0 ? TensorIn<T>.Float32(Bias) : default,
            Mask = Mask.Length > 0 ? Mask : default(TensorIn<byte>),
            AlibiSlopes = AlibiSlopes,
            SinkLogits = SinkLogits,
            CumulativeQueryLengths = CumulativeQueryLengths,
            CumulativeKeyLengths = CumulativeKeyLengths,
            KeyLengths = KeyLengths,
            BlockTable = BlockTable,
            DropoutSeed = DropoutSeed,
            DropoutOffset = DropoutOffset,
            QueryPositionOffset = QueryPositionOffset,
            KeyPositionOffset = KeyPositionOffset,
            MaxThreads = maxThreads,
        };
        plan.Forward(in arguments);
    }

    private void Fill<T>(Random random)
        where T : unmanaged
    {
        Query = Numbers.Normal<T>(random, Shape.Batch * Shape.QueryHeads * Shape.QueryLength * Shape.HeadDim);
        Key = Numbers.Normal<T>(random, KeyRows * Shape.KeyHeads * Shape.HeadDim);
        Value = Numbers.Normal<T>(random, KeyRows * Shape.ValueHeads * Shape.ValueHeadDim);
        GradOutput = Numbers.Normal<T>(random, OutputLength);
        GradLse = Numbers.Normal<float>(random, LseLength);
        long pairs = PairRows * PairColumns;
        if (Options.Bias is { } bias)
        {
            Bias = Numbers.Normal<float>(
                random, (bias.PerBatch ? Entries : 1) * (bias.PerHead ? Shape.QueryHeads : 1) * pairs);
        }

        if (Options.Mask is { } mask)
        {
            long rows = (mask.PerBatch ? Entries : 1) * (mask.PerHead ? Shape.QueryHeads : 1) * pairs;
            Mask = Enumerable.Range(0, (int)rows).Select(_ => (byte)random.Next(2)).ToArray();
        }

        if (Options.Alibi)
        {
            AlibiSlopes = Enumerable.Range(1, (int)Shape.QueryHeads)
                .Select(h => MathF.Pow(2, -8f * h / Shape.QueryHeads)).ToArray();
        }

        if (Options.Sinks)
        {
            SinkLogits = Numbers.Normal<float>(random, Shape.QueryHeads);
        }
    }
}
