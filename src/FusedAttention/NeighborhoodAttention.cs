// Neighborhood attention in one call. The first thing a caller tries; plans are made and kept behind it.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Neighborhood attention without a plan in sight: the plans of the last 64 different problems are
/// kept.</summary>
/// <remarks>
/// Thread-safe. Finding the plan of a known problem costs some hundred nanoseconds; hot loops keep their own
/// <see cref="NeighborhoodAttentionPlan{T}"/>, whose remarks name cost and source.
/// </remarks>
public static unsafe class NeighborhoodAttention
{
    /// <summary>Computes softmax attention of every token over its neighbours.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="query">Queries, [B, Hq, L, D].</param>
    /// <param name="key">Keys, [B, Hk, L, D].</param>
    /// <param name="value">Values, [B, Hk, L, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, L, Dv].</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">The grid and what to compute.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, L]; default: not wanted.</param>
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
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, TensorOut<T> output, AttentionShape shape,
        NeighborhoodOptions options, TensorOut<float> lse = default, AttentionDevice? device = null,
        CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        var arguments = new NeighborhoodForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Lse = lse,
        };
        Forward(in arguments, shape, options, device, cancellationToken);
    }

    /// <summary>Computes the output, with everything the options announce.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="arguments">The tensors.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">The grid and what to compute.</param>
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
        in NeighborhoodForwardArguments<T> arguments, AttentionShape shape, NeighborhoodOptions options,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        NeighborhoodAttentionPlan<T> plan = Rent<T>(shape, options, device, isBackward: false);
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
    /// <param name="options">What the forward call computed; <see cref="NeighborhoodOptions.Backward"/> need not be
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
        in NeighborhoodBackwardArguments<T> arguments, AttentionShape shape, NeighborhoodOptions options,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        NeighborhoodAttentionPlan<T> plan = Rent<T>(shape, options, device, isBackward: true);
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
    /// <param name="options">The grid and what to compute.</param>
    /// <param name="reason">Why not; empty when the answer is yes.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>True when <see cref="NeighborhoodAttentionPlan{T}"/> would accept the same arguments.</returns>
    public static bool IsSupported<T>(
        AttentionShape shape, NeighborhoodOptions options, out string reason, AttentionDevice? device = null)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(options);
        fattn_neighborhood_problem problem = NeighborhoodSpecs.CreateProblem(shape, options, ElementTypeOf<T>.Float);
        device ??= AttentionDevice.Cpu;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_status status = NativeMethods.fattn_supports_neighborhood(device.Handle.Pointer, &problem);
        bool isSupported = status == fattn_status.FATTN_STATUS_OK;
        reason = isSupported ? "" : NativeCall.LastError();
        return isSupported;
    }

    private static NeighborhoodAttentionPlan<T> Rent<T>(
        AttentionShape shape, NeighborhoodOptions options, AttentionDevice? device, bool isBackward)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(options);
        return PlanCache.Rent<NeighborhoodAttentionPlan<T>, AttentionShape, NeighborhoodOptions>(
            shape, options, device, isBackward);
    }
}
