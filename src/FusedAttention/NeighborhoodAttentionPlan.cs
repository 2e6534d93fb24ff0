// Neighborhood attention for one grid, prepared once and run many times. Used by callers and by NeighborhoodAttention.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Neighborhood attention for one shape and one set of options.</summary>
/// <typeparam name="T">
/// Type of queries, keys and values: <see cref="float"/>, <see cref="Half"/>, <see cref="BFloat16"/> or
/// System.Numerics.BFloat16.
/// </typeparam>
/// <remarks>
/// <para>
/// Time is proportional to the pairs that patches of queries visit (<see cref="AttentionPlan.GetScheduleStats"/>): for
/// one window it grows with the number of tokens, not with its square. The score matrix is never stored. Making a plan
/// takes 10 to 100 microseconds, a run allocates nothing on the managed heap. Thread-safe: runs of one plan may be
/// concurrent, with distinct outputs.
/// </para>
/// <para>
/// A window that is the whole grid makes the plan a dense one, with its bits. On a <see cref="CudaDevice"/> the
/// overloads with a stream take device tensors and only queue their work.
/// </para>
/// <para>
/// Source: Hassani et al. 2022 (neighborhood attention), arXiv:2204.07143, with the dilation of arXiv:2209.15001 and
/// the stride of Hassani et al. 2025 (generalized neighborhood attention), arXiv:2504.16922. What differs: the order of
/// tokens and the patches are the planner's, and the backward has the exact inverse window of every key.
/// </para>
/// </remarks>
public sealed unsafe partial class NeighborhoodAttentionPlan<T>
    : AttentionPlan, ICachedPlan<NeighborhoodAttentionPlan<T>, AttentionShape, NeighborhoodOptions>
    where T : unmanaged
{
    private readonly NeighborhoodSpecs _specs;

    /// <summary>Prepares a plan.</summary>
    /// <param name="shape">
    /// Extents and layout of the tensors: as many queries and keys as <see cref="NeighborhoodOptions.Tokens"/>, as many
    /// value heads as key heads.
    /// </param>
    /// <param name="options">The grid and what to compute.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">The tensors are larger than any memory.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public NeighborhoodAttentionPlan(
        AttentionShape shape, NeighborhoodOptions options, AttentionDevice? device = null)
        : base(device ?? AttentionDevice.Cpu, MakeNative(shape, options, device))
    {
        Shape = shape;
        Options = options;
        try
        {
            _specs = new NeighborhoodSpecs(shape, options, ElementTypeOf<T>.Float);
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
    public NeighborhoodOptions Options { get; }

    /// <summary>Computes the output.</summary>
    /// <param name="query">Queries, [B, Hq, L, D].</param>
    /// <param name="key">Keys, [B, Hk, L, D].</param>
    /// <param name="value">Values, [B, Hk, L, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, L, Dv].</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, L]; default: not wanted.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, TensorOut<T> output, TensorOut<float> lse = default,
        CancellationToken cancellationToken = default)
    {
        var arguments = new NeighborhoodForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Lse = lse,
        };
        Forward(in arguments, cancellationToken);
    }

    /// <summary>Computes the output, with everything the plan's options announce.</summary>
    /// <param name="arguments">The tensors of this run.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(in NeighborhoodForwardArguments<T> arguments, CancellationToken cancellationToken = default)
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
    /// cref="NeighborhoodOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Backward(in NeighborhoodBackwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        BackwardHeld(in arguments, cancellationToken);
    }

    static NeighborhoodAttentionPlan<T>
        ICachedPlan<NeighborhoodAttentionPlan<T>, AttentionShape, NeighborhoodOptions>.Make(
            AttentionShape shape, NeighborhoodOptions options, AttentionDevice device, bool isBackward) =>
        new(shape, isBackward ? options with { Backward = true } : options, device);

    private static PlanHandle MakeNative(AttentionShape shape, NeighborhoodOptions options, AttentionDevice? device)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(options);
        fattn_neighborhood_problem problem = NeighborhoodSpecs.CreateProblem(shape, options, ElementTypeOf<T>.Float);
        DeviceHandle opened = (device ?? AttentionDevice.Cpu).Handle;
        fattn_plan* plan;
        using HandleScope scope = default;
        scope.Add(opened);
        NativeCall.Check(
            NativeMethods.fattn_neighborhood_plan(opened.Pointer, &problem, &plan),
            nameof(NeighborhoodAttentionPlan<T>));
        return new PlanHandle(plan);
    }
}
