// Turns a shape and options into the native problem and into what each run must bring. Used by DenseAttentionPlan.
using System;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>What a dense plan expects of every tensor of its runs.</summary>
internal sealed unsafe partial class DenseSpecs
{
    private readonly AttentionShape _shape;
    private readonly DenseOptions _options;
    private readonly ElementType _element;
    private readonly ElementType _outputElement;
    private readonly ElementType _gradientElement;

    internal DenseSpecs(AttentionShape shape, DenseOptions options, ElementType element)
    {
        _shape = shape;
        _options = options;
        _element = element;
        _outputElement = options.Float32Output ? ElementType.Float32 : element;
        _gradientElement = options.Float32Gradients ? ElementType.Float32 : element;
        CheckPages(shape, options);
        try
        {
            Query = Spec(
                shape, "query", element, Extents(shape, shape.QueryHeads, shape.QueryLength, shape.HeadDim),
                shape.QueryStrides);
            Key = KeyValueSpec("key", shape.KeyHeads, shape.HeadDim, shape.KeyStrides, element);
            Value = KeyValueSpec("value", shape.ValueHeads, shape.ValueHeadDim, shape.ValueStrides, element);
            Output = OutputSpec(shape, _outputElement, "output");
            GradOutput = OutputSpec(shape, _outputElement, "gradOutput");
            GradQuery = Spec(
                shape, "gradQuery", _gradientElement,
                Extents(shape, shape.QueryHeads, shape.QueryLength, shape.HeadDim),
                shape.QueryStrides);
            GradKey = KeyValueSpec("gradKey", shape.KeyHeads, shape.HeadDim, shape.KeyStrides, _gradientElement);
            GradValue = KeyValueSpec(
                "gradValue", shape.ValueHeads, shape.ValueHeadDim, shape.ValueStrides, _gradientElement);
            Lse = LseSpec(shape, "lse");
            GradLse = LseSpec(shape, "gradLse");
            Bias = BiasSpec();
            GradBias = options.Bias is { } bias
                ? new TensorSpec(
                    "gradBias", ElementType.Float32, PairExtents(shape, options, bias.PerBatch, bias.PerHead))
                : null;
            Mask = MaskSpec();
        }
        catch (OverflowException)
        {
            throw new ArgumentException(
                $"The tensors of {shape} are larger than any memory; their elements must be countable in 64 bits.",
                nameof(shape));
        }

        long sequences = options.Packed?.Sequences ?? shape.Batch;
        AlibiSlopes = Vector("alibiSlopes", ElementType.Float32, shape.QueryHeads);
        SinkLogits = Vector("sinkLogits", ElementType.Float32, shape.QueryHeads);
        GradSinkLogits = Vector("gradSinkLogits", ElementType.Float32, shape.QueryHeads);
        CumulativeQueryLengths = Vector("cumulativeQueryLengths", ElementType.Int32, sequences + 1);
        CumulativeKeyLengths = Vector("cumulativeKeyLengths", ElementType.Int32, sequences + 1);
        KeyLengths = Vector("keyLengths", ElementType.Int32, sequences);
        BlockTable = options.Paging is { } pages
            ? new TensorSpec("blockTable", ElementType.Int32, [sequences, pages.MaxPagesPerSequence])
            : null;
    }

    internal TensorSpec Query { get; }

    internal TensorSpec Key { get; }

    internal TensorSpec Value { get; }

    internal TensorSpec Output { get; }

    internal TensorSpec Lse { get; }

    internal TensorSpec GradOutput { get; }

    internal TensorSpec GradLse { get; }

    internal TensorSpec GradQuery { get; }

    internal TensorSpec GradKey { get; }

    internal TensorSpec GradValue { get; }

    internal TensorSpec? Bias { get; }

    internal TensorSpec? GradBias { get; }

    internal TensorSpec? Mask { get; }

    internal TensorSpec? BlockTable { get; }

    internal TensorSpec AlibiSlopes { get; }

    internal TensorSpec SinkLogits { get; }

    internal TensorSpec GradSinkLogits { get; }

    internal TensorSpec CumulativeQueryLengths { get; }

    internal TensorSpec CumulativeKeyLengths { get; }

    internal TensorSpec KeyLengths { get; }

    /// <summary>The same shape and options in the native library's words.</summary>
    internal static fattn_dense_problem CreateProblem(AttentionShape shape, DenseOptions options, ElementType element)
    {
        CheckPages(shape, options);
        ElementType output = options.Float32Output ? ElementType.Float32 : element;
        ElementType gradient = options.Float32Gradients ? ElementType.Float32 : element;
        fattn_dense_problem problem = default;
        problem.struct_size = (uint)sizeof(fattn_dense_problem);
        problem.flags = (uint)Flags(options);
        problem.q = Layout(shape, element, shape.QueryHeads, shape.QueryLength, shape.HeadDim, shape.QueryStrides);
        problem.o = Layout(shape, output, shape.QueryHeads, shape.QueryLength, shape.ValueHeadDim, shape.OutputStrides);
        problem.k = KeyValueLayout(shape, options, element, shape.KeyHeads, shape.HeadDim, shape.KeyStrides);
        problem.v = KeyValueLayout(shape, options, element, shape.ValueHeads, shape.ValueHeadDim, shape.ValueStrides);
        if (options.Backward)
        {
            problem.d_o = problem.o;
            problem.d_q = problem.q;
            problem.d_k = problem.k;
            problem.d_v = problem.v;
            problem.d_q.dtype = problem.d_k.dtype = problem.d_v.dtype = (fattn_dtype)gradient;
        }

        if (options.Bias is { } bias)
        {
            ElementType biasElement = bias.SameTypeAsQuery ? element : ElementType.Float32;
            problem.bias = PairLayout(
                (fattn_dtype)biasElement, PairExtents(shape, options, bias.PerBatch, bias.PerHead), bias.Strides);
        }

        if (options.Mask is { } mask)
        {
            fattn_dtype dtype = mask.Format == MaskFormat.Bits
                ? fattn_dtype.FATTN_DTYPE_BIT
                : fattn_dtype.FATTN_DTYPE_U8;
            problem.mask = PairLayout(
                dtype, PairExtents(shape, options, mask.PerBatch, mask.PerHead), mask.Strides);
        }

        problem.scale = options.Scale ?? 0;
        problem.softcap = options.SoftCap ?? 0;
        problem.sigmoid_bias = options.SigmoidBias ?? 0;
        problem.dropout_p = options.Dropout ?? 0;
        if (options.Window is { } window)
        {
            problem.window_left = window.Left ?? -1;
            problem.window_right = window.Right ?? -1;
        }

        problem.attention_chunk = options.AttentionChunk ?? 0;
        problem.causal_alignment = (fattn_alignment)options.CausalAlignment;
        problem.weights = (fattn_weights)options.Weights;
        problem.num_seqs = options.Packed?.Sequences ?? 0;
        problem.max_q_len = options.Packed?.MaxQueryLength ?? 0;
        problem.max_kv_len = options.Packed?.MaxKeyLength ?? 0;
        problem.max_pages_per_seq = options.Paging?.MaxPagesPerSequence ?? 0;
        return problem;
    }

    private static fattn_dense_flags Flags(DenseOptions options)
    {
        fattn_dense_flags flags = 0;
        Add(options.Causal, fattn_dense_flags.FATTN_DENSE_CAUSAL);
        Add(options.Scale is not null, fattn_dense_flags.FATTN_DENSE_HAS_SCALE);
        Add(options.Window is not null, fattn_dense_flags.FATTN_DENSE_HAS_WINDOW);
        Add(options.SoftCap is not null, fattn_dense_flags.FATTN_DENSE_HAS_SOFTCAP);
        Add(options.Bias is not null, fattn_dense_flags.FATTN_DENSE_HAS_BIAS);
        Add(options.Alibi, fattn_dense_flags.FATTN_DENSE_HAS_ALIBI);
        Add(options.Sinks, fattn_dense_flags.FATTN_DENSE_HAS_SINK);
        Add(options.Mask is not null, fattn_dense_flags.FATTN_DENSE_HAS_MASK);
        Add(options.Packed is not null, fattn_dense_flags.FATTN_DENSE_VARLEN);
        Add(options.KeyLengths, fattn_dense_flags.FATTN_DENSE_HAS_KV_LEN);
        Add(options.Paging is not null, fattn_dense_flags.FATTN_DENSE_PAGED);
        Add(options.Dropout is not null, fattn_dense_flags.FATTN_DENSE_HAS_DROPOUT);
        Add(options.Backward, fattn_dense_flags.FATTN_DENSE_BACKWARD);
        Add(options.Deterministic, fattn_dense_flags.FATTN_DENSE_DETERMINISTIC);
        return flags;

        void Add(bool isSet, fattn_dense_flags flag) => flags |= isSet ? flag : 0;
    }

    // What the native side cannot see, because only one of the two numbers reaches it.
    private static void CheckPages(AttentionShape shape, DenseOptions options)
    {
        if (options.Paging is not { } pages)
        {
            return;
        }

        if (shape.KeyLength != pages.PageSize * pages.MaxPagesPerSequence)
        {
            throw new ArgumentException(
                $"KeyLength is {shape.KeyLength}; with {pages} it must be PageSize * MaxPagesPerSequence = "
                + $"{pages.PageSize * pages.MaxPagesPerSequence}.",
                nameof(shape));
        }
    }

    internal static fattn_layout Layout(
        AttentionShape shape, ElementType element, long heads, long length, long dim, TensorStrides? strides)
    {
        TensorStrides actual = strides ?? (shape.Layout == AttentionLayout.TokensFirst
            ? new TensorStrides(Product(length, heads, dim), dim, Product(heads, dim))
            : new TensorStrides(Product(heads, length, dim), Product(length, dim), dim));
        return Create((fattn_dtype)element, [shape.Batch, heads, length, dim], actual);
    }

    /// <summary>How keys or values lie, in pages or not.</summary>
    internal static fattn_layout KeyValueLayout(
        AttentionShape shape, DenseOptions options, ElementType element, long heads, long dim,
        TensorStrides? strides)
    {
        if (options.Paging is not { } pages)
        {
            return Layout(shape, element, heads, shape.KeyLength, dim, strides);
        }

        TensorStrides actual = strides
            ?? new TensorStrides(Product(pages.PageSize, heads, dim), Head: dim, Token: Product(heads, dim));

        // The second extent of a page is its tokens, the third its heads.
        return Create(
            (fattn_dtype)element, [pages.Pages, pages.PageSize, heads, dim],
            new TensorStrides(actual.Batch, actual.Token, actual.Head));
    }

    private static fattn_layout PairLayout(fattn_dtype dtype, long[] extents, TensorStrides? strides) => Create(
        dtype, extents,
        strides ?? new TensorStrides(
            Product(extents[1], extents[2], extents[3]), Product(extents[2], extents[3]), extents[3]));

    private static fattn_layout Create(fattn_dtype dtype, ReadOnlySpan<long> extents, TensorStrides strides)
    {
        fattn_layout layout = default;
        for (int i = 0; i < extents.Length; ++i)
        {
            layout.shape[i] = extents[i];
        }

        layout.strides[0] = strides.Batch;
        layout.strides[1] = strides.Head;
        layout.strides[2] = strides.Token;
        layout.strides[3] = 1;
        layout.dtype = dtype;
        layout.rank = 4;
        return layout;
    }

    // Extents that no memory can hold wrap around here and negative ones count as 0, so that the native library refuses
    // the extent and not a stride made of it.
    private static long Product(long a, long b, long c = 1) =>
        unchecked(Math.Max(a, 0) * Math.Max(b, 0) * Math.Max(c, 0));

    private static TensorSpec Vector(string name, ElementType element, long length) => new(name, element, [length]);

    private static TensorSpec Spec(
        AttentionShape shape, string name, ElementType element, long[] extents, TensorStrides? strides)
    {
        if (strides is not { } given)
        {
            return new TensorSpec(name, element, extents);
        }

        return new TensorSpec(
            name, element, extents,
            shape.Layout == AttentionLayout.TokensFirst
                ? [given.Batch, given.Token, given.Head, 1]
                : [given.Batch, given.Head, given.Token, 1]);
    }

    private TensorSpec KeyValueSpec(string name, long heads, long dim, TensorStrides? strides, ElementType element) =>
        _options.Paging is { } pages
            ? new TensorSpec(
                name, element, [pages.Pages, pages.PageSize, heads, dim],
                strides is { } given ? [given.Batch, given.Token, given.Head, 1] : null)
            : Spec(_shape, name, element, Extents(_shape, heads, _shape.KeyLength, dim), strides);

    /// <summary>What an output must be.</summary>
    internal static TensorSpec OutputSpec(AttentionShape shape, ElementType element, string name) => Spec(
        shape, name, element, Extents(shape, shape.QueryHeads, shape.QueryLength, shape.ValueHeadDim),
        shape.OutputStrides);

    /// <summary>What an LSE must be.</summary>
    internal static TensorSpec LseSpec(AttentionShape shape, string name) =>
        new(name, ElementType.Float32, [shape.Batch, shape.QueryHeads, shape.QueryLength]);

    private TensorSpec? BiasSpec()
    {
        if (_options.Bias is not { } bias)
        {
            return null;
        }

        return new TensorSpec(
            "bias", bias.SameTypeAsQuery ? _element : ElementType.Float32,
            PairExtents(_shape, _options, bias.PerBatch, bias.PerHead), PairStrides(bias.Strides));
    }

    private TensorSpec? MaskSpec()
    {
        if (_options.Mask is not { } mask)
        {
            return null;
        }

        long[] extents = PairExtents(_shape, _options, mask.PerBatch, mask.PerHead);
        return new TensorSpec(
            "mask", ElementType.UInt8, extents, PairStrides(mask.Strides), mask.Format == MaskFormat.Bits ? 8 : 1);
    }

    private static long[]? PairStrides(TensorStrides? strides) =>
        strides is { } given ? [given.Batch, given.Head, given.Token, 1] : null;

    // The pairs of packed sequences are counted from each sequence's own first query and key.
    private static long[] PairExtents(AttentionShape shape, DenseOptions options, bool perBatch, bool perHead)
    {
        (long entries, long queries, long keys) = (shape.Batch, shape.QueryLength, shape.KeyLength);
        if (options.Packed is { } packed)
        {
            entries = packed.Sequences;
            queries = Longest(packed.MaxQueryLength, queries);
            keys = Longest(packed.MaxKeyLength, keys);
        }

        return [perBatch ? entries : 1, perHead ? shape.QueryHeads : 1, queries, keys];

        // As the native library reads it: 0 is all tokens, and no sequence is longer than that.
        static long Longest(long stated, long total) => stated > 0 ? Math.Min(stated, total) : total;
    }

    internal static long[] Extents(AttentionShape shape, long heads, long length, long dim) =>
        shape.Layout == AttentionLayout.TokensFirst
            ? [shape.Batch, length, heads, dim]
            : [shape.Batch, heads, length, dim];
}
