// Dense attention in one call. The first thing a caller tries; plans are made and kept behind it.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Dense attention without a plan in sight: the plans of the last 64 different problems are kept.</summary>
/// <remarks>
/// Thread-safe. Finding the plan of a known problem costs some hundred nanoseconds; hot loops keep their own
/// <see cref="DenseAttentionPlan{T}"/>, whose remarks name cost and source.
/// </remarks>
public static unsafe class DenseAttention
{
    /// <summary>Options of plain softmax attention.</summary>
    internal static readonly DenseOptions DefaultOptions = new();

    /// <summary>Computes softmax(scale * query key^T) value.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="value">Values, [B, Hv, Lk, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: plain softmax attention.</param>
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
        DenseOptions? options = null, TensorOut<float> lse = default, AttentionDevice? device = null,
        CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        var arguments = new DenseForwardArguments<T>
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
    /// <param name="options">What to compute; null: plain softmax attention.</param>
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
        in DenseForwardArguments<T> arguments, AttentionShape shape, DenseOptions? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        DenseAttentionPlan<T> plan = PlanCache.Rent<DenseAttentionPlan<T>, AttentionShape, DenseOptions>(
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
    /// <param name="options">What the forward call computed; <see cref="DenseOptions.Backward"/> need not be
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
        in DenseBackwardArguments<T> arguments, AttentionShape shape, DenseOptions? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        DenseAttentionPlan<T> plan = PlanCache.Rent<DenseAttentionPlan<T>, AttentionShape, DenseOptions>(
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
    /// <param name="options">What to compute; null: plain softmax attention.</param>
    /// <param name="reason">Why not; empty when the answer is yes.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>True when <see cref="DenseAttentionPlan{T}"/> would accept the same arguments.</returns>
    public static bool IsSupported<T>(
        AttentionShape shape, DenseOptions? options, out string reason, AttentionDevice? device = null)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_dense_problem problem = DenseSpecs.CreateProblem(
            shape, options ?? DefaultOptions, ElementTypeOf<T>.Float);
        device ??= AttentionDevice.Cpu;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_status status = NativeMethods.fattn_supports_dense(device.Handle.Pointer, &problem);
        bool isSupported = status == fattn_status.FATTN_STATUS_OK;
        reason = isSupported ? "" : NativeCall.LastError();
        return isSupported;
    }
}
