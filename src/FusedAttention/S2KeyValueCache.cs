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
    private readonly AttentionShape _shape;
    private readonly S2Pages _pages;
    private readonly HostBuffer<T> _keys;
    private readonly HostBuffer<T> _values;
    private readonly DenseAttentionPlan<T> _decode;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="shape">
    /// <see cref="AttentionShape.KeyLength"/> is the most tokens the cache will see, and
    /// <see cref="AttentionShape.QueryLength"/> is 1; see <see cref="AttentionShape.Decode"/>. As many value heads as
    /// key heads; strides are not used.
    /// </param>
    /// <param name="options">The pattern, causal; null: the defaults of <see cref="S2Options"/>.</param>
    /// <param name="device">Where decode runs; null: <see cref="AttentionDevice.Cpu"/>. The cache lies in host memory: a
    /// GPU takes all of it over for each token.</param>
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
        _decode = new DenseAttentionPlan<T>(
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
            _keys = new HostBuffer<T>(checked(_pages.Count * options.BlockSize * shape.HeadDim));
            _values = new HostBuffer<T>(checked(_pages.Count * options.BlockSize * shape.ValueHeadDim));
        }
        catch
        {
            _keys?.Dispose();
            _decode.Dispose();
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
    public long AllocatedElements => _keys.Length + _values.Length;

    /// <summary>Adds tokens at the end of every batch entry.</summary>
    /// <param name="key">Keys, [B, Hk, n, D] contiguous in the layout of the shape; n follows from the length.</param>
    /// <param name="value">Values, [B, Hk, n, Dv].</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other or the capacity.</exception>
    /// <exception cref="ObjectDisposedException">The cache was disposed.</exception>
    public void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value)
    {
        ObjectDisposedException.ThrowIf(_keys.IsDisposed, this);
        long keyRow = _shape.Batch * _shape.KeyHeads * _shape.HeadDim;
        long valueRow = _shape.Batch * _shape.KeyHeads * _shape.ValueHeadDim;
        long tokens = key.Length / keyRow;
        if (tokens * keyRow != key.Length || tokens * valueRow != value.Length)
        {
            throw new ArgumentException(
                $"key has {key.Length} and value {value.Length} elements; a token has {keyRow} and {valueRow}.",
                nameof(key));
        }

        if (tokens > Capacity - Length)
        {
            throw new ArgumentException(
                $"{tokens} tokens were given; the cache holds {Length} and has room for {Capacity - Length} more.",
                nameof(key));
        }

        for (long token = 0; token < tokens; ++token)
        {
            long inBlock = Length % Options.BlockSize;
            if (inBlock == 0)
            {
                _pages.Begin(Length / Options.BlockSize);
            }

            for (long head = 0; head < _shape.Batch * _shape.KeyHeads; ++head)
            {
                long slot = (_pages.Current(head) * Options.BlockSize) + inBlock;
                long row = Row(head, token, tokens);
                Copy(key, row, _keys, slot, (int)_shape.HeadDim);
                Copy(value, row, _values, slot, (int)_shape.ValueHeadDim);
            }

            ++Length;
        }
    }

    /// <summary>Attention of the last token appended to everything it sees.</summary>
    /// <param name="query">Its queries, [B, Hq, 1, D].</param>
    /// <param name="output">Receives the output, [B, Hq, 1, Dv]; 0 when the cache is empty.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, 1]; default: not wanted.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the shape says.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The cache, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse = default,
        CancellationToken cancellationToken = default)
    {
        var arguments = new DenseForwardArguments<T>
        {
            Query = query,
            Key = _keys,
            Value = _values,
            Output = output,
            Lse = lse,
            KeyLengths = _pages.Lengths(Length),
            BlockTable = _pages.Table,
        };
        _decode.Forward(in arguments, cancellationToken);
    }

    /// <summary>Forgets all tokens.</summary>
    public void Clear()
    {
        _pages.Clear();
        Length = 0;
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _decode.Dispose();
        _keys.Dispose();
        _values.Dispose();
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

    private static void Copy(ReadOnlySpan<T> source, long row, HostBuffer<T> target, long slot, int width) =>
        source.Slice((int)(row * width), width).CopyTo(target.AsSpan(slot * width, width));

    /// <summary>Row of a token of a head, counted over batch entries, in what Append was given.</summary>
    private long Row(long head, long token, long tokens)
    {
        if (_shape.Layout == AttentionLayout.HeadsFirst)
        {
            return (head * tokens) + token;
        }

        long entry = head / _shape.KeyHeads;
        return (((entry * tokens) + token) * _shape.KeyHeads) + (head % _shape.KeyHeads);
    }
}
