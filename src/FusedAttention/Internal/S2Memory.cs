// Where the keys and values of an S2 cache lie. Made by S2KeyValueCache.
using System;
using System.Threading;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>The pages of a cache: tokens go in, decode runs over them.</summary>
internal abstract unsafe class S2Memory<T> : IDisposable
    where T : unmanaged
{
    private readonly AttentionShape _shape;
    private readonly fattn_layout _keyPages;
    private readonly fattn_layout _valuePages;
    private bool _hasKeysAlone;

    private protected S2Memory(AttentionShape shape, S2Pages pages, DenseAttentionPlan<T> plan, long blockSize)
    {
        _shape = shape;
        Pages = pages;
        Plan = plan;
        KeyElements = checked(pages.Count * blockSize * shape.HeadDim);
        ValueElements = checked(pages.Count * blockSize * shape.ValueHeadDim);

        // A page has one head; its tokens lie one after the other.
        var asShape = new AttentionShape(pages.Count, blockSize, 1, shape.HeadDim);
        _keyPages = DenseSpecs.Layout(asShape, ElementTypeOf<T>.Float, blockSize, 1, shape.HeadDim, null);
        _valuePages = DenseSpecs.Layout(asShape, ElementTypeOf<T>.Float, blockSize, 1, shape.ValueHeadDim, null);
    }

    internal long KeyElements { get; }

    internal long ValueElements { get; }

    private protected S2Pages Pages { get; }

    /// <summary>Decode: a paged dense plan, whose sequences are query heads of a key head with one pattern.</summary>
    private protected DenseAttentionPlan<T> Plan { get; }

    /// <summary>Takes tokens of host memory to their slots.</summary>
    internal abstract void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value, long tokens, ReadOnlySpan<int> slots);

    /// <summary>Decodes over as many tokens, with queries and results in host memory.</summary>
    internal abstract void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse, long length,
        CancellationToken cancellationToken);

    public virtual void Dispose() => Plan.Dispose();

    /// <summary>
    /// Whether an append ended between keys and values, so that pages hold new keys with old values; says so once.
    /// </summary>
    internal bool TakeKeysAlone()
    {
        bool result = _hasKeysAlone;
        _hasKeysAlone = false;
        return result;
    }

    /// <summary>Both calls of an append; the stream is null on the CPU.</summary>
    private protected void Append(
        void* key, void* value, void* keyPages, void* valuePages, long tokens, int* slots, CudaStream? stream)
    {
        Append(_shape.HeadDim, _keyPages, key, keyPages, tokens, slots, stream);
        _hasKeysAlone = true;
        Append(_shape.ValueHeadDim, _valuePages, value, valuePages, tokens, slots, stream);
        _hasKeysAlone = false;
    }

    private void Append(
        long dim, in fattn_layout pagesLayout, void* from, void* pages, long tokens, int* slots, CudaStream? stream)
    {
        fattn_cache_append_args native = default;
        native.struct_size = (uint)sizeof(fattn_cache_append_args);
        native.tokens_layout = DenseSpecs.Layout(
            _shape, ElementTypeOf<T>.Float, _shape.KeyHeads, tokens, dim, null);
        native.pages_layout = pagesLayout;
        native.tokens = from;
        native.pages = pages;
        native.slots = slots;
        fattn_run run = default;
        run.struct_size = (uint)sizeof(fattn_run);
        run.stream = (void*)(stream?.Native ?? 0);
        using HandleScope scope = default;
        scope.Add(Plan.Device.Handle);
        scope.Add(stream?.Handle);
        NativeCall.Check(
            NativeMethods.fattn_cache_append(Plan.Device.Handle.Pointer, &native, &run), "S2KeyValueCache.Append");
    }
}
