// Linear attention in one call. The first thing a caller tries; plans are made and kept behind it.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Linear attention without a plan in sight: the plans of the last 64 different problems are kept.</summary>
/// <remarks>
/// Thread-safe. Finding the plan of a known problem costs some hundred nanoseconds; hot loops keep their own
/// <see cref="LightningAttentionPlan{T}"/>, whose remarks name cost and source.
/// </remarks>
public static unsafe class LightningAttention
{
    /// <summary>Options of the causal form with nothing else.</summary>
    internal static readonly LightningOptions DefaultOptions = new();

    /// <summary>Computes o_t = sum over u &lt;= t of exp(-slope (t - u)) (q_t.k_u) v_u.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="query">Queries, [B, Hq, L, D].</param>
    /// <param name="key">Keys, [B, Hk, L, D].</param>
    /// <param name="value">Values, [B, Hk, L, Dv].</param>
    /// <param name="slopes">Decay of each query head per token, [Hq]; finite, 0 or more.</param>
    /// <param name="output">Receives the output, [B, Hq, L, Dv].</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: the causal form with nothing else.</param>
    /// <param name="finalState">Receives the state after the last token, [B, Hq, D, Dv] (with features or weights as
    /// <see cref="LightningAttentionPlan{T}.StateRows"/> and <see cref="LightningAttentionPlan{T}.StateColumns"/> say);
    /// default: not wanted.</param>
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
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, ReadOnlySpan<float> slopes, TensorOut<T> output,
        AttentionShape shape, LightningOptions? options = null, TensorOut<float> finalState = default,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        var arguments = new LightningForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Slopes = slopes,
            Output = output,
            FinalState = finalState,
        };
        Forward(in arguments, shape, options, device, cancellationToken);
    }

    /// <summary>Computes the output, from an initial state when the options announce one.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="arguments">The tensors.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: the causal form with nothing else.</param>
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
        in LightningForwardArguments<T> arguments, AttentionShape shape, LightningOptions? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        LightningAttentionPlan<T> plan = Rent<T>(shape, options, device, isBackward: false);
        try
        {
            plan.ForwardHeld(in arguments, cancellationToken);
        }
        finally
        {
            plan.Handle.DangerousRelease();
        }
    }

    /// <summary>Computes gradients from the forward call's inputs and the gradient of its output.</summary>
    /// <typeparam name="T">Type of the elements: float, Half or BFloat16.</typeparam>
    /// <param name="arguments">The tensors.</param>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What the forward call computed; <see cref="LightningOptions.Backward"/> need not be
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
        in LightningBackwardArguments<T> arguments, AttentionShape shape, LightningOptions? options = null,
        AttentionDevice? device = null, CancellationToken cancellationToken = default)
        where T : unmanaged
    {
        LightningAttentionPlan<T> plan = Rent<T>(shape, options, device, isBackward: true);
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
    /// <param name="options">What to compute; null: the causal form with nothing else.</param>
    /// <param name="reason">Why not; empty when the answer is yes.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>True when <see cref="LightningAttentionPlan{T}"/> would accept the same arguments.</returns>
    public static bool IsSupported<T>(
        AttentionShape shape, LightningOptions? options, out string reason, AttentionDevice? device = null)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_lightning_problem problem = LightningSpecs.CreateProblem(
            shape, options ?? DefaultOptions, ElementTypeOf<T>.Float);
        device ??= AttentionDevice.Cpu;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_status status = NativeMethods.fattn_supports_lightning(device.Handle.Pointer, &problem);
        bool isSupported = status == fattn_status.FATTN_STATUS_OK;
        reason = isSupported ? "" : NativeCall.LastError();
        return isSupported;
    }

    private static LightningAttentionPlan<T> Rent<T>(
        AttentionShape shape, LightningOptions? options, AttentionDevice? device, bool isBackward)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        return PlanCache.Rent<LightningAttentionPlan<T>, AttentionShape, LightningOptions>(
            shape, options ?? DefaultOptions, device, isBackward);
    }
}
