// Where the keys and values of a cache lie. Made by S2KeyValueCache and DenseKeyValueCache.
using System;
using System.Threading;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>The pages of a cache: tokens go in, decode runs over them.</summary>
internal abstract unsafe class PageMemory<T> : IDisposable
    where T : unmanaged
{
    private readonly AttentionShape _shape;
    private readonly AttentionShape _oneEntry; // the same tokens, of one batch entry
    private readonly fattn_layout _keyPages;
    private readonly fattn_layout _valuePages;
    private bool _hasKeysAlone;

    /// <param name="owner">Name of the cache, for errors.</param>
    /// <param name="shape">Tokens that are appended.</param>
    /// <param name="plan">Decode: a paged dense plan.</param>
    private protected PageMemory(string owner, AttentionShape shape, DenseAttentionPlan<T> plan)
    {
        AppendName = owner + ".Append";
        _shape = shape;
        _oneEntry = shape with { Batch = 1 };
        Plan = plan;
        PagingOptions paging = plan.Options.Paging!;
        long rows = checked(paging.Pages * paging.PageSize * plan.Shape.KeyHeads);
        KeyElements = checked(rows * shape.HeadDim);
        ValueElements = checked(rows * shape.ValueHeadDim);
        _keyPages = PagesLayout(shape.HeadDim);
        _valuePages = PagesLayout(shape.ValueHeadDim);

        fattn_layout PagesLayout(long dim) => DenseSpecs.KeyValueLayout(
            plan.Shape, plan.Options, ElementTypeOf<T>.Float, plan.Shape.KeyHeads, dim, null);
    }

    internal long KeyElements { get; }

    internal long ValueElements { get; }

    private protected DenseAttentionPlan<T> Plan { get; }

    /// <summary>What errors call an append.</summary>
    private protected string AppendName { get; }

    /// <summary>Takes tokens of host memory to their slots.</summary>
    /// <param name="key">Keys, [B or 1, Hk, n, D].</param>
    /// <param name="value">Values, [B or 1, Hk, n, Dv].</param>
    /// <param name="tokens">How many, with their slots.</param>
    internal abstract void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value, in NewTokens tokens);

    /// <summary>Decodes what the sequences see, with queries and results in host memory.</summary>
    internal abstract void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse, in PageState state,
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
        void* key, void* value, void* keyPages, void* valuePages, in NewTokens tokens, int* slots, CudaStream? stream)
    {
        Append(_shape.HeadDim, _keyPages, key, keyPages, tokens, slots, stream);
        _hasKeysAlone = true;
        Append(_shape.ValueHeadDim, _valuePages, value, valuePages, tokens, slots, stream);
        _hasKeysAlone = false;
    }

    private void Append(
        long dim, in fattn_layout pagesLayout, void* from, void* pages, in NewTokens tokens, int* slots,
        CudaStream? stream)
    {
        fattn_cache_append_args native = default;
        native.struct_size = (uint)sizeof(fattn_cache_append_args);
        native.tokens_layout = DenseSpecs.Layout(
            tokens.OfOneEntry ? _oneEntry : _shape, ElementTypeOf<T>.Float, _shape.KeyHeads, tokens.Count, dim, null);
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
            NativeMethods.fattn_cache_append(Plan.Device.Handle.Pointer, &native, &run), AppendName);
    }
}
