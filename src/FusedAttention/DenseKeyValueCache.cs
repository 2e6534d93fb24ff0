// A cache of keys and values in pages for growing sequences, with dense attention over it. Used by callers.
using System;
using System.Threading;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>Keys and values of sequences that grow by tokens, each at its own pace, in pages of one pool.</summary>
/// <typeparam name="T">Type of queries, keys and values: float, Half or BFloat16.</typeparam>
/// <remarks>
/// <para>
/// A sequence takes a page from the pool when its last one is full and gives its pages back when it is cut or cleared,
/// so that memory follows the tokens there are, not the most there could be. Decode is a paged
/// <see cref="DenseAttentionPlan{T}"/> over them. Not thread-safe.
/// </para>
/// <para>Source: pages of Kwon et al. 2023 (PagedAttention), arXiv:2309.06180, section 4.</para>
/// </remarks>
public sealed partial class DenseKeyValueCache<T> : IDisposable
    where T : unmanaged
{
    private const string Name = "DenseKeyValueCache";
    private const long DefaultPageSize = 64;
    private readonly AttentionShape _shape;
    private readonly PagingOptions _paging;
    private readonly SequencePages _pages;
    private readonly PageMemory<T> _memory;
    private int[] _slots = [];
    private bool _isDisposed;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="shape">
    /// One batch entry a sequence. <see cref="AttentionShape.KeyLength"/> is the most tokens of one sequence, and
    /// <see cref="AttentionShape.QueryLength"/> how many queries each decode has; see
    /// <see cref="AttentionShape.Decode"/>. As many value heads as key heads; contiguous tensors.
    /// </param>
    /// <param name="options">
    /// What decode computes; null: plain softmax attention. Causal is needed where a decode has several queries.
    /// <see cref="DenseOptions.Paging"/> sets size and number of the pages, and KeyLength is then a whole number of
    /// them; null: pages of 64 tokens, enough for all sequences. No bias, mask, ALiBi, sinks, packed sequences, dropout or
    /// backward: for what brings tensors of its own, run a paged plan.
    /// </param>
    /// <param name="device">Where the cache lies and decode runs; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="OutOfMemoryException">The system lacks the memory of the cache.</exception>
    public DenseKeyValueCache(AttentionShape shape, DenseOptions? options = null, AttentionDevice? device = null)
    {
        ArgumentNullException.ThrowIfNull(shape);
        options ??= DenseAttention.DefaultOptions;
        CheckArguments(shape, options);
        _shape = shape;
        _paging = options.Paging ?? EnoughPages(shape);
        CheckSlots(_paging);
        var plan = new DenseAttentionPlan<T>(
            options.Paging is null ? shape with { KeyLength = _paging.PageSize * _paging.MaxPagesPerSequence } : shape,
            options with { KeyLengths = true, Paging = _paging },
            device);
        try
        {
            _pages = new SequencePages(shape.Batch, _paging);
            _memory = device is CudaDevice gpu
                ? new DevicePageMemory<T>(Name, shape, plan, gpu)
                : new HostPageMemory<T>(Name, shape, plan);
        }
        catch
        {
            plan.Dispose();
            throw;
        }

        Options = plan.Options;
    }

    /// <summary>What decode computes, with the pages.</summary>
    public DenseOptions Options { get; }

    /// <summary>Sequences, the batch entries of the shape.</summary>
    public long Sequences => _shape.Batch;

    /// <summary>Most tokens of one sequence.</summary>
    public long Capacity => _shape.KeyLength;

    /// <summary>Pages that no sequence has.</summary>
    public long FreePages => _pages.FreePages;

    /// <summary>Elements of memory for keys and values together.</summary>
    public long AllocatedElements => _memory.KeyElements + _memory.ValueElements;

    /// <summary>Tokens of a sequence.</summary>
    /// <param name="sequence">0 to <see cref="Sequences"/> - 1.</param>
    /// <returns>What was appended to it and not cut since.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such sequence.</exception>
    public long GetLength(long sequence)
    {
        CheckSequence(sequence);
        return _pages.Lengths[(int)sequence];
    }

    /// <summary>Adds as many tokens at the end of every sequence.</summary>
    /// <param name="key">Keys, [B, Hk, n, D] contiguous in the layout of the shape; n follows from the length.</param>
    /// <param name="value">Values, [B, Hk, n, Dv].</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="AttentionException">Earlier work of the GPU ended in a fault.</exception>
    /// <exception cref="InvalidOperationException">There are too few free pages.</exception>
    /// <exception cref="ObjectDisposedException">The cache was disposed.</exception>
    /// <remarks>
    /// After an exception the cache is as it was before. On a GPU the tokens are copied there, and the call returns
    /// once they have left the spans.
    /// </remarks>
    public void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value) => Append(0, Sequences, key, value);

    /// <summary>Adds tokens at the end of one sequence.</summary>
    /// <param name="sequence">0 to <see cref="Sequences"/> - 1.</param>
    /// <param name="key">Keys, [1, Hk, n, D] contiguous in the layout of the shape; n follows from the length.</param>
    /// <param name="value">Values, [1, Hk, n, Dv].</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="ArgumentOutOfRangeException">There is no such sequence.</exception>
    /// <exception cref="AttentionException">Earlier work of the GPU ended in a fault.</exception>
    /// <exception cref="InvalidOperationException">There are too few free pages.</exception>
    /// <exception cref="ObjectDisposedException">The cache was disposed.</exception>
    /// <remarks>As for all sequences.</remarks>
    public void Append(long sequence, ReadOnlySpan<T> key, ReadOnlySpan<T> value)
    {
        CheckSequence(sequence);
        Append(sequence, 1, key, value);
    }

    /// <summary>Queues adding as many tokens of device memory at the end of every sequence.</summary>
    /// <param name="key">Keys as in the overload with spans, of the cache's device.</param>
    /// <param name="value">Values.</param>
    /// <param name="stream">Where it is queued, behind all earlier calls of this cache in whatever streams.</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="AttentionException">Memory or stream of another context, or a fault of earlier
    /// work.</exception>
    /// <exception cref="InvalidOperationException">The cache does not lie on a GPU, or there are too few free
    /// pages.</exception>
    /// <exception cref="ObjectDisposedException">The cache, the stream or a tensor was disposed.</exception>
    /// <remarks>
    /// After an exception the cache is as it was before. Cannot be captured into a CUDA graph: where tokens go is
    /// decided on the host.
    /// </remarks>
    public void Append(DeviceTensor<T> key, DeviceTensor<T> value, CudaStream stream) =>
        Append(0, Sequences, in key, in value, stream);

    /// <summary>Queues adding tokens of device memory at the end of one sequence.</summary>
    /// <param name="sequence">0 to <see cref="Sequences"/> - 1.</param>
    /// <param name="key">Keys as in the overload with spans, of the cache's device.</param>
    /// <param name="value">Values.</param>
    /// <param name="stream">Where it is queued, behind all earlier calls of this cache in whatever streams.</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="ArgumentOutOfRangeException">There is no such sequence.</exception>
    /// <exception cref="AttentionException">Memory or stream of another context, or a fault of earlier
    /// work.</exception>
    /// <exception cref="InvalidOperationException">The cache does not lie on a GPU, or there are too few free
    /// pages.</exception>
    /// <exception cref="ObjectDisposedException">The cache, the stream or a tensor was disposed.</exception>
    /// <remarks>As for all sequences.</remarks>
    public void Append(long sequence, DeviceTensor<T> key, DeviceTensor<T> value, CudaStream stream)
    {
        CheckSequence(sequence);
        Append(sequence, 1, in key, in value, stream);
    }

    /// <summary>Attention of the last tokens of every sequence to all of its tokens.</summary>
    /// <param name="query">Their queries, [B, Hq, Lq, D].</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv]; 0 for an empty sequence.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, Lq]; default: not wanted.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined. On a GPU it is looked at
    /// before the run alone.</param>
    /// <exception cref="ArgumentException">A tensor is not what the shape says.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The cache, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <remarks>On a GPU queries are copied there and results back; keys and values stay where they are.</remarks>
    public void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse = default,
        CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        _memory.Decode(query, output, lse, _pages.State, cancellationToken);
    }

    /// <summary>Queues attention of the last tokens of every sequence to all of its tokens.</summary>
    /// <param name="query">Their queries, [B, Hq, Lq, D], of the cache's device.</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv]; 0 for an empty sequence.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, Lq]; default: not wanted.</param>
    /// <param name="stream">Where it is queued, behind all earlier calls of this cache in whatever streams.</param>
    /// <exception cref="ArgumentException">A tensor is not what the shape says.</exception>
    /// <exception cref="AttentionException">Memory or stream of another context, or a fault of earlier
    /// work.</exception>
    /// <exception cref="InvalidOperationException">The cache does not lie on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The cache, the stream or a tensor was disposed.</exception>
    /// <remarks>Cannot be captured into a CUDA graph: what is seen is decided on the host.</remarks>
    public void Decode(
        DeviceTensor<T> query, DeviceTensor<T> output, DeviceTensor<float> lse, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        OnDevice("Decode").Decode(in query, in output, in lse, _pages.State, stream);
    }

    /// <summary>Forgets the last tokens of a sequence, as of a rejected draft, and frees their pages.</summary>
    /// <param name="sequence">0 to <see cref="Sequences"/> - 1.</param>
    /// <param name="length">Tokens that stay, 0 to the sequence's length; 0 ends the sequence.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such sequence, or it is shorter.</exception>
    public void Truncate(long sequence, long length)
    {
        CheckSequence(sequence);
        if (length < 0 || length > _pages.Lengths[(int)sequence])
        {
            throw new ArgumentOutOfRangeException(
                nameof(length), length,
                $"Sequence {sequence} has {_pages.Lengths[(int)sequence]} tokens; allowed are 0 to that.");
        }

        _pages.Truncate(sequence, length);
    }

    /// <summary>Forgets all tokens of all sequences.</summary>
    public void Clear()
    {
        for (long sequence = 0; sequence < Sequences; ++sequence)
        {
            _pages.Truncate(sequence, 0);
        }
    }

    /// <summary>Frees the memory, on a GPU once no work uses it. Disposing twice is fine.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _memory.Dispose();
    }

    private static PagingOptions EnoughPages(AttentionShape shape)
    {
        long perSequence = ((shape.KeyLength - 1) / DefaultPageSize) + 1;
        return new PagingOptions(checked(shape.Batch * perSequence), DefaultPageSize, perSequence);
    }

    // A place in the pages is a number of 32 bits.
    private static void CheckSlots(PagingOptions paging)
    {
        if (paging.Pages > int.MaxValue / Math.Max(paging.PageSize, 1))
        {
            throw new ArgumentException(
                $"{paging} have more than 2^31 - 1 tokens together; make several caches.", nameof(paging));
        }
    }

    private static void CheckArguments(AttentionShape shape, DenseOptions options)
    {
        if (shape.Batch < 1 || shape.KeyHeads < 1 || shape.KeyLength < 1)
        {
            throw new ArgumentException(
                $"Batch is {shape.Batch}, KeyHeads {shape.KeyHeads} and KeyLength {shape.KeyLength}; each must be at "
                + "least 1.",
                nameof(shape));
        }

        if (shape.ValueHeads != shape.KeyHeads)
        {
            throw new ArgumentException(
                $"ValueHeads is {shape.ValueHeads}; it must be KeyHeads, {shape.KeyHeads}.", nameof(shape));
        }

        if (shape.QueryStrides is not null || shape.KeyStrides is not null || shape.ValueStrides is not null
            || shape.OutputStrides is not null)
        {
            throw new ArgumentException("Strides were given; a cache takes contiguous tensors.", nameof(shape));
        }

        string? refused = options.Bias is not null ? nameof(DenseOptions.Bias)
            : options.Mask is not null ? nameof(DenseOptions.Mask)
            : options.Alibi ? nameof(DenseOptions.Alibi)
            : options.Sinks ? nameof(DenseOptions.Sinks)
            : options.Packed is not null ? nameof(DenseOptions.Packed)
            : options.Dropout is not null ? nameof(DenseOptions.Dropout)
            : options.Backward ? nameof(DenseOptions.Backward)
            : null;
        if (refused is not null)
        {
            throw new ArgumentException(
                $"{refused} is set; decode over a cache takes queries alone and is forward only: run a paged "
                + "DenseAttentionPlan for it.",
                nameof(options));
        }
    }
}
