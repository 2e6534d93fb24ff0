// A cache of keys and values that keeps only what S2 attention can still see, with decode over it. Used by callers.
using System;
using System.Threading;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>Keys and values of a growing sequence, of which each head keeps its shard and its local band.</summary>
/// <typeparam name="T">Type of queries, keys and values: float, Half or BFloat16.</typeparam>
/// <remarks>
/// A key head keeps the blocks that one of its query heads may see again: with one pattern per key head about
/// 1 / VerticalStride of the context and the local blocks. Dropped blocks' memory is used again for new ones. Results
/// are those of <see cref="S2AttentionPlan{T}"/> over the whole sequence. Not thread-safe.
/// </remarks>
public sealed class S2KeyValueCache<T> : IDisposable
    where T : unmanaged
{
    private const string Name = "S2KeyValueCache";
    private readonly AttentionShape _shape;
    private readonly S2Pages _pages;
    private readonly PageMemory<T> _memory;
    private int[] _slots = [];
    private bool _isDisposed;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="shape">
    /// <see cref="AttentionShape.KeyLength"/> is the most tokens the cache will see, and
    /// <see cref="AttentionShape.QueryLength"/> is 1; see <see cref="AttentionShape.Decode"/>. As many value heads as
    /// key heads; strides are not used.
    /// </param>
    /// <param name="options">The pattern, causal; null: the defaults of <see cref="S2Options"/>.</param>
    /// <param name="device">Where the cache lies and decode runs; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="OutOfMemoryException">The system lacks the memory of the cache.</exception>
    public S2KeyValueCache(AttentionShape shape, S2Options? options = null, AttentionDevice? device = null)
    {
        ArgumentNullException.ThrowIfNull(shape);
        options ??= S2Attention.DefaultOptions;
        CheckArguments(shape, options);
        _shape = shape;
        Options = options;
        _pages = S2Pages.Make(shape, options);
        var decode = new DenseAttentionPlan<T>(
            new AttentionShape(_pages.Sequences, _pages.HeadsPerSequence, 1, shape.HeadDim)
            {
                KeyHeads = 1,
                ValueHeads = 1,
                KeyLength = _pages.MaxPagesPerSequence * options.BlockSize,
                ValueHeadDim = shape.ValueHeadDim,
            },
            new DenseOptions
            {
                Scale = options.Scale,
                Float32Output = options.Float32Output,
                KeyLengths = true,
                Paging = new PagingOptions(_pages.Count, options.BlockSize, _pages.MaxPagesPerSequence),
            },
            device);
        try
        {
            _memory = device is CudaDevice gpu
                ? new DevicePageMemory<T>(Name, shape, decode, gpu)
                : new HostPageMemory<T>(Name, shape, decode);
        }
        catch
        {
            decode.Dispose();
            throw;
        }
    }

    /// <summary>The pattern.</summary>
    public S2Options Options { get; }

    /// <summary>Tokens appended so far.</summary>
    public long Length { get; private set; }

    /// <summary>Most tokens that can be appended.</summary>
    public long Capacity => _shape.KeyLength;

    /// <summary>Tokens that each key head keeps at the moment, summed over batch entries and key heads.</summary>
    public long KeptTokens => _pages.KeptTokens(Length);

    /// <summary>Elements of memory for keys and values together.</summary>
    public long AllocatedElements => _memory.KeyElements + _memory.ValueElements;

    /// <summary>Adds tokens at the end of every batch entry.</summary>
    /// <param name="key">Keys, [B, Hk, n, D] contiguous in the layout of the shape; n follows from the length.</param>
    /// <param name="value">Values, [B, Hk, n, Dv].</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="AttentionException">Earlier work of the GPU ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The cache was disposed.</exception>
    /// <remarks>On a GPU the tokens are copied there, and the call returns once they have left the spans.</remarks>
    public void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        long tokens = CountTokens(key.Length, value.Length);
        if (tokens == 0)
        {
            return;
        }

        try
        {
            _memory.Append(key, value, new NewTokens(tokens, TakeSlots(tokens)));
        }
        catch
        {
            Undo();
            throw;
        }

        Length += tokens;
    }

    /// <summary>Queues adding tokens of device memory at the end of every batch entry.</summary>
    /// <param name="key">Keys as in the other overload, of the cache's device.</param>
    /// <param name="value">Values.</param>
    /// <param name="stream">Where it is queued, behind all earlier calls of this cache in whatever streams.</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="AttentionException">Memory or stream of another context, or a fault of earlier
    /// work.</exception>
    /// <exception cref="InvalidOperationException">The cache does not lie on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The cache, the stream or a tensor was disposed.</exception>
    /// <remarks>
    /// After an exception the cache is as it was before; where the values alone were refused, new keys stand in its
    /// pages by then, and it is empty. Cannot be captured into a CUDA graph: where tokens go is decided on the host.
    /// </remarks>
    public void Append(DeviceTensor<T> key, DeviceTensor<T> value, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        DevicePageMemory<T> memory = OnDevice("S2KeyValueCache.Append");
        if (key.Element != ElementTypeOf<T>.Float || value.Element != ElementTypeOf<T>.Float)
        {
            throw new ArgumentException(
                $"key has elements of type {key.Element} and value of {value.Element}; the cache keeps "
                + $"{ElementTypeOf<T>.Float}.",
                nameof(key));
        }

        long tokens = CountTokens(key.Length, value.Length);
        if (tokens == 0)
        {
            return;
        }

        try
        {
            memory.Append(in key, in value, new NewTokens(tokens, TakeSlots(tokens)), stream);
        }
        catch
        {
            Undo();
            throw;
        }

        Length += tokens;
    }

    /// <summary>Attention of the last token appended to everything it sees.</summary>
    /// <param name="query">Its queries, [B, Hq, 1, D].</param>
    /// <param name="output">Receives the output, [B, Hq, 1, Dv]; 0 when the cache is empty.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, 1]; default: not wanted.</param>
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
        _memory.Decode(query, output, lse, State(), cancellationToken);
    }

    /// <summary>Queues attention of the last token appended to everything it sees.</summary>
    /// <param name="query">Its queries, [B, Hq, 1, D], of the cache's device.</param>
    /// <param name="output">Receives the output, [B, Hq, 1, Dv]; 0 when the cache is empty.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, 1]; default: not wanted.</param>
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
        OnDevice("S2KeyValueCache.Decode").Decode(in query, in output, in lse, State(), stream);
    }

    /// <summary>Forgets all tokens.</summary>
    public void Clear()
    {
        _pages.Clear();
        Length = 0;
    }

    /// <summary>Frees the memory, on a GPU once no work uses it. Disposing twice is fine.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _memory.Dispose();
    }

    private static void CheckArguments(AttentionShape shape, S2Options options)
    {
        if (!options.Causal)
        {
            throw new ArgumentException("Causal is false; a cache is for causal patterns.", nameof(options));
        }

        if (shape.QueryLength != 1)
        {
            throw new ArgumentException(
                $"QueryLength is {shape.QueryLength}; decode takes 1 query a batch entry.", nameof(shape));
        }

        if (shape.ValueHeads != shape.KeyHeads)
        {
            throw new ArgumentException(
                $"ValueHeads is {shape.ValueHeads}; it must be KeyHeads, {shape.KeyHeads}.", nameof(shape));
        }

        if (shape.KeyHeads < 1 || shape.QueryHeads < 1 || shape.QueryHeads % shape.KeyHeads != 0)
        {
            throw new ArgumentException(
                $"QueryHeads is {shape.QueryHeads}; it must be a positive multiple of KeyHeads, {shape.KeyHeads}.",
                nameof(shape));
        }

        if (shape.QueryStrides is not null || shape.KeyStrides is not null || shape.ValueStrides is not null
            || shape.OutputStrides is not null)
        {
            throw new ArgumentException("Strides were given; a cache takes contiguous tensors.", nameof(shape));
        }
    }

    private DevicePageMemory<T> OnDevice(string operation)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return _memory as DevicePageMemory<T> ?? throw new InvalidOperationException(
            $"{operation} was given device tensors, but the cache lies in host memory; make it with a CudaDevice.");
    }

    private PageState State() => new(_pages.Table, _pages.Version, _pages.Lengths(Length), Length);

    private long CountTokens(long keyLength, long valueLength)
    {
        long keyRow = _shape.Batch * _shape.KeyHeads * _shape.HeadDim;
        long valueRow = _shape.Batch * _shape.KeyHeads * _shape.ValueHeadDim;
        long tokens = keyLength / keyRow;
        if (tokens * keyRow != keyLength || tokens * valueRow != valueLength)
        {
            ThrowHelper.Argument(
                $"key has {keyLength} and value {valueLength} elements; a token has {keyRow} and {valueRow}.", "key");
        }

        if (tokens > Capacity - Length)
        {
            ThrowHelper.Argument(
                $"{tokens} tokens were given; the cache holds {Length} and has room for {Capacity - Length} more.",
                "key");
        }

        return tokens;
    }

    private void Undo()
    {
        if (_memory.TakeKeysAlone())
        {
            Clear();
        }
        else
        {
            _pages.Restore(Length);
        }
    }

    private ReadOnlySpan<int> TakeSlots(long tokens)
    {
        int count = checked((int)(_shape.Batch * _shape.KeyHeads * tokens));
        if (_slots.Length < count)
        {
            _slots = new int[count];
        }

        Span<int> slots = _slots.AsSpan(0, count);
        _pages.Append(Length, tokens, slots);
        return slots;
    }
}
