// Permuted block-sparse attention in one call. The first thing a caller tries; plans are made and kept behind it.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>
/// Permuted block-sparse attention without a plan in sight: the plans of the last 64 different problems are kept.
/// </summary>
/// <remarks>
/// Thread-safe. Hot loops keep their own <see cref="PermutedBlockAttentionPlan{T}"/>, whose remarks name cost and
/// source.
/// </remarks>
public static unsafe class PermutedBlockAttention
{
    /// <summary>Options that keep every default.</summary>
    internal static readonly PermutedBlockOptions DefaultOptions = new();

    /// <summary>Selects by importance and coverage, then computes the output.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="value">Values, [B, Hv, Lk, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv].</param>
    /// <param name="shape">Extents and layout of the tensors; with Lq below Lk the queries are the last Lq
    /// positions.</param>
    /// <param name="options">What to compute; null: causal, blocks of 128, segments of 256, coverage 0.9.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, Lq]; default: not wanted.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">Shape, options and tensors contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem or the run, and says
    /// why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <remarks>Allocates the selection, 4 B Hq Lk bytes and the block mask; plans leave that to the caller.</remarks>
    public static void Forward<T>(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, TensorOut<T> output, AttentionShape shape,
        PermutedBlockOptions? options = null, TensorOut<float> lse = default, AttentionDevice? device = null,
        CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        PermutedBlockAttentionPlan<T> plan =
            PlanCache.Rent<PermutedBlockAttentionPlan<T>, AttentionShape, PermutedBlockOptions>(
                shape, options ?? DefaultOptions, device, isBackward: false);
        try
        {
            long heads = shape.Batch * shape.QueryHeads;
            int[] permutation = new int[checked(heads * shape.KeyLength)];
            byte[] blockMask = new byte[checked(heads * plan.QueryBlocks * plan.KeyBlocks)];
            plan.SelectHeld(query, key, permutation, blockMask, default, 0, cancellationToken);
            var arguments = new PermutedBlockForwardArguments<T>
            {
                Query = query,
                Key = key,
                Value = value,
                Output = output,
                Lse = lse,
                Permutation = permutation,
                BlockMask = blockMask,
            };
            plan.ForwardHeld(in arguments, cancellationToken);
        }
        finally
        {
            plan.Handle.DangerousRelease();
        }
    }

    /// <summary>Computes the output over a selection that the caller has.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="arguments">The tensors.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: causal, blocks of 128, segments of 256.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">Shape, options and tensors contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem or the run, and says
    /// why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static void Forward<T>(
        in PermutedBlockForwardArguments<T> arguments, AttentionShape shape, PermutedBlockOptions? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        PermutedBlockAttentionPlan<T> plan =
            PlanCache.Rent<PermutedBlockAttentionPlan<T>, AttentionShape, PermutedBlockOptions>(
                shape, options ?? DefaultOptions, device, isBackward: false);
        try
        {
            plan.ForwardHeld(in arguments, cancellationToken);
        }
        finally
        {
            plan.Handle.DangerousRelease();
        }
    }

    /// <summary>Computes gradients from the forward call's results and the gradient of its output.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="arguments">The tensors.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What the forward call computed; <see cref="PermutedBlockOptions.Backward"/> need not be
    /// set.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">Shape, options and tensors contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem or the run, and says
    /// why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static void Backward<T>(
        in PermutedBlockBackwardArguments<T> arguments, AttentionShape shape, PermutedBlockOptions? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        PermutedBlockAttentionPlan<T> plan =
            PlanCache.Rent<PermutedBlockAttentionPlan<T>, AttentionShape, PermutedBlockOptions>(
                shape, options ?? DefaultOptions, device, isBackward: true);
        try
        {
            plan.BackwardHeld(in arguments, cancellationToken);
        }
        finally
        {
            plan.Handle.DangerousRelease();
        }
    }

    /// <summary>Asks whether a plan could be made.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: causal, blocks of 128, segments of 256, coverage 0.9.</param>
    /// <param name="reason">Why not; empty when the answer is yes.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>True when <see cref="PermutedBlockAttentionPlan{T}"/> would accept the same arguments.</returns>
    public static bool IsSupported<T>(
        AttentionShape shape, PermutedBlockOptions? options, out string reason, AttentionDevice? device = null)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_permuted_block_problem problem = PermutedBlockSpecs.CreateProblem(
            shape, options ?? DefaultOptions, ElementTypeOf<T>.Float);
        device ??= AttentionDevice.Cpu;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_status status = NativeMethods.fattn_supports_permuted_block(device.Handle.Pointer, &problem);
        bool isSupported = status == fattn_status.FATTN_STATUS_OK;
        reason = isSupported ? "" : NativeCall.LastError();
        return isSupported;
    }
}
