// Permuted block-sparse attention for one shape, prepared once and run many times. Used by callers and by
// PermutedBlockAttention.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Permuted block-sparse attention for one shape and one set of options.</summary>
/// <typeparam name="T">
/// Type of queries, keys and values: <see cref="float"/>, <see cref="Half"/>, <see cref="BFloat16"/> or
/// System.Numerics.BFloat16.
/// </typeparam>
/// <remarks>
/// <para>
/// A selection (which token lies in which slot, which blocks are kept) is made by one of the Select methods or by the
/// caller, for example with <see cref="BlockMasks"/>, and then given to runs.
/// </para>
/// <para>
/// Time is proportional to the pairs of kept blocks; a selection costs 2 to 10 % of dense attention over 32768 to 8192
/// tokens. The score matrix is never stored. A run allocates nothing on the managed heap. Thread-safe: runs of one plan
/// may be concurrent, with distinct outputs. On a <see cref="CudaDevice"/> the overloads with a stream take device
/// tensors and only queue their work.
/// </para>
/// <para>
/// Source: Wang et al. 2025 (PBS-Attn), arXiv:2510.21270, for <c>Select</c>; Lu et al. 2025 (MoBA), arXiv:2502.13189,
/// for <c>SelectMoba</c>; Gao et al. 2024 (SeerAttention), arXiv:2410.13276, for gates over scores. What differs: the
/// backward through the permutation, the shared permutation and fewer queries than keys, which PBS-Attn has not.
/// </para>
/// </remarks>
public sealed unsafe partial class PermutedBlockAttentionPlan<T>
    : AttentionPlan, ICachedPlan<PermutedBlockAttentionPlan<T>, AttentionShape, PermutedBlockOptions>
    where T : unmanaged
{
    private readonly PermutedBlockSpecs _specs;

    /// <summary>Prepares a plan.</summary>
    /// <param name="shape">Extents and layout of the tensors; with Lq below Lk the queries are the last Lq
    /// positions.</param>
    /// <param name="options">What to compute; null: causal, blocks of 128, segments of 256, coverage 0.9.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public PermutedBlockAttentionPlan(
        AttentionShape shape, PermutedBlockOptions? options = null, AttentionDevice? device = null)
        : base(device ?? AttentionDevice.Cpu, MakeNative(shape, options, device))
    {
        Shape = shape;
        Options = options ?? PermutedBlockAttention.DefaultOptions;
        try
        {
            _specs = new PermutedBlockSpecs(shape, Options, ElementTypeOf<T>.Float);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Extents and layout of the tensors.</summary>
    public AttentionShape Shape { get; }

    /// <summary>What the plan computes.</summary>
    public PermutedBlockOptions Options { get; }

    /// <summary>Rows of the block mask of one head: ceil(Lq / QueryBlock).</summary>
    public long QueryBlocks => _specs.QueryBlocks;

    /// <summary>Columns of the block mask of one head: ceil(Lk / BlockSize).</summary>
    public long KeyBlocks => _specs.KeyBlocks;

    /// <summary>Computes the output over a selection.</summary>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="value">Values, [B, Hv, Lk, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</param>
    /// <param name="permutation">The token of each slot, [B, Hq, Lk]; default: each token in its own slot.</param>
    /// <param name="blockMask">Kept blocks, [B, Hq, QueryBlocks, KeyBlocks]; default: all.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, Lq]; default: not wanted.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why; for example the
    /// permutation leaves a segment.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, TensorOut<T> output, TensorIn<int> permutation = default,
        TensorIn<byte> blockMask = default, TensorOut<float> lse = default,
        CancellationToken cancellationToken = default)
    {
        var arguments = new PermutedBlockForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Permutation = permutation,
            BlockMask = blockMask,
            Lse = lse,
        };
        Forward(in arguments, cancellationToken);
    }

    /// <summary>Computes the output over a selection.</summary>
    /// <param name="arguments">The tensors of this run.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why; for example the
    /// permutation leaves a segment.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(in PermutedBlockForwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        ForwardHeld(in arguments, cancellationToken);
    }

    /// <summary>Computes gradients from the forward run's results and the gradient of its output.</summary>
    /// <param name="arguments">The tensors of this run.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="InvalidOperationException">The plan was made without <see
    /// cref="PermutedBlockOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Backward(in PermutedBlockBackwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        BackwardHeld(in arguments, cancellationToken);
    }

    /// <summary>How much of the score matrix a run over a selection visits, in tiles of the block mask.</summary>
    /// <param name="permutation">As in a run.</param>
    /// <param name="blockMask">As in a run.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The selection is not one, and why.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The sums.</returns>
    public ScheduleStats GetScheduleStats(TensorIn<int> permutation, TensorIn<byte> blockMask)
    {
        CheckSelection(in permutation, in blockMask);
        using HandleScope scope = default;
        scope.Add(Handle);
        using HandleScope owners = default;
        owners.Add(permutation.Owner);
        owners.Add(blockMask.Owner);
        fixed (void* tokens = permutation, mask = blockMask)
        {
            fattn_schedule_stats stats = ReadStats((int*)tokens, (byte*)mask, nameof(GetScheduleStats));
            return PlanQueries.ToStats(in stats);
        }
    }

    /// <summary>The tiles that a run over a selection visits, of one batch entry and query head.</summary>
    /// <param name="permutation">As in a run.</param>
    /// <param name="blockMask">As in a run.</param>
    /// <param name="batch">Batch entry, from 0.</param>
    /// <param name="head">Query head, from 0.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The selection is not one, or there is no such entry or head.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The map.</returns>
    public TileMap GetTileMap(TensorIn<int> permutation, TensorIn<byte> blockMask, long batch = 0, long head = 0)
    {
        CheckSelection(in permutation, in blockMask);
        using HandleScope scope = default;
        scope.Add(Handle);
        using HandleScope owners = default;
        owners.Add(permutation.Owner);
        owners.Add(blockMask.Owner);
        byte[] tiles = new byte[checked(QueryBlocks * KeyBlocks)];
        fixed (byte* first = tiles)
        fixed (void* tokens = permutation, mask = blockMask)
        {
            fattn_permuted_block_selection selection = ToSelection((int*)tokens, (byte*)mask);
            NativeCall.Check(
                NativeMethods.fattn_permuted_block_tiles(
                    Handle.Pointer, &selection, batch, head, first, (ulong)tiles.LongLength),
                nameof(GetTileMap));
        }

        return new TileMap(tiles, QueryBlocks, KeyBlocks);
    }

    static PermutedBlockAttentionPlan<T>
        ICachedPlan<PermutedBlockAttentionPlan<T>, AttentionShape, PermutedBlockOptions>.Make(
            AttentionShape shape, PermutedBlockOptions options, AttentionDevice device, bool isBackward) =>
        new(shape, isBackward ? options with { Backward = true } : options, device);

    private static fattn_permuted_block_selection ToSelection(int* permutation, byte* blockMask) => new()
    {
        struct_size = (uint)sizeof(fattn_permuted_block_selection),
        permutation = permutation,
        block_mask = blockMask,
    };

    // The native library looks at the contents of a selection first.
    private fattn_schedule_stats ReadStats(int* permutation, byte* blockMask, string operation)
    {
        fattn_schedule_stats stats = default;
        stats.struct_size = (uint)sizeof(fattn_schedule_stats);
        fattn_permuted_block_selection selection = ToSelection(permutation, blockMask);
        NativeCall.Check(
            NativeMethods.fattn_permuted_block_stats(Handle.Pointer, &selection, &stats), operation);
        return stats;
    }

    private static PlanHandle MakeNative(
        AttentionShape shape, PermutedBlockOptions? options, AttentionDevice? device)
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_permuted_block_problem problem = PermutedBlockSpecs.CreateProblem(
            shape, options ?? PermutedBlockAttention.DefaultOptions, ElementTypeOf<T>.Float);
        DeviceHandle opened = (device ?? AttentionDevice.Cpu).Handle;
        fattn_plan* plan;
        using HandleScope scope = default;
        scope.Add(opened);
        NativeCall.Check(
            NativeMethods.fattn_permuted_block_plan(opened.Pointer, &problem, &plan),
            nameof(PermutedBlockAttentionPlan<T>));
        return new PlanHandle(plan);
    }
}
