// S2 attention in one call. The first thing a caller tries; plans are made and kept behind it.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Sharded (S2) attention without a plan in sight: the plans of the last 64 different problems are kept.</summary>
/// <remarks>
/// Thread-safe. Finding the plan of a known problem costs some hundred nanoseconds; hot loops keep their own
/// <see cref="S2AttentionPlan{T}"/>, whose remarks name cost and source.
/// </remarks>
public static unsafe class S2Attention
{
    /// <summary>The defaults.</summary>
    internal static readonly S2Options DefaultOptions = new();

    /// <summary>Computes softmax(scale * query key^T) value over the blocks that each head sees.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="value">Values, [B, Hv, Lk, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: the defaults of <see cref="S2Options"/>.</param>
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
    public static void Forward<T>(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, TensorOut<T> output, AttentionShape shape,
        S2Options? options = null, TensorOut<float> lse = default, AttentionDevice? device = null,
        CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        var arguments = new S2ForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Lse = lse,
        };
        Forward(in arguments, shape, options, device, cancellationToken);
    }

    /// <summary>Computes the output, with the number of threads as an argument too.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="arguments">The tensors.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: the defaults of <see cref="S2Options"/>.</param>
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
        in S2ForwardArguments<T> arguments, AttentionShape shape, S2Options? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        S2AttentionPlan<T> plan = PlanCache.Rent<S2AttentionPlan<T>, AttentionShape, S2Options>(
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
    /// <param name="options">What the forward call computed; <see cref="S2Options.Backward"/> need not be
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
        in S2BackwardArguments<T> arguments, AttentionShape shape, S2Options? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        S2AttentionPlan<T> plan = PlanCache.Rent<S2AttentionPlan<T>, AttentionShape, S2Options>(
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
    /// <param name="options">What to compute; null: the defaults of <see cref="S2Options"/>.</param>
    /// <param name="reason">Why not; empty when the answer is yes.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>True when <see cref="S2AttentionPlan{T}"/> would accept the same arguments.</returns>
    public static bool IsSupported<T>(
        AttentionShape shape, S2Options? options, out string reason, AttentionDevice? device = null)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_s2_problem problem = S2Specs.CreateProblem(
            shape, options ?? DefaultOptions, ElementTypeOf<T>.Float);
        device ??= AttentionDevice.Cpu;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_status status = NativeMethods.fattn_supports_s2(device.Handle.Pointer, &problem);
        bool isSupported = status == fattn_status.FATTN_STATUS_OK;
        reason = isSupported ? "" : NativeCall.LastError();
        return isSupported;
    }
}
