// Dense attention for one shape, prepared once and run many times. Used by callers and by DenseAttention.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Dense attention for one shape and one set of options.</summary>
/// <typeparam name="T">
/// Type of queries, keys and values: <see cref="float"/>, <see cref="Half"/>, <see cref="BFloat16"/> or
/// System.Numerics.BFloat16.
/// </typeparam>
/// <remarks>
/// <para>
/// Time is proportional to the pairs in the visited tiles (<see cref="AttentionPlan.GetScheduleStats"/>); the score
/// matrix is never stored, and workspace grows at most linearly with the tokens
/// (<see cref="AttentionPlan.GetWorkspaceBytes"/>). Making a plan takes microseconds, a run allocates nothing on the
/// managed heap. Thread-safe: runs of one plan may be concurrent, with distinct outputs.
/// </para>
/// <para>
/// On a <see cref="CudaDevice"/> the overloads with a stream take device tensors and only queue their work; what spans
/// and host tensors cost there stands with <see cref="AttentionPlan"/>.
/// </para>
/// <para>
/// Source: Dao 2023 (FlashAttention-2), arXiv:2307.08691, Algorithms 1 (forward, the online softmax of Milakov and
/// Gimelshein, arXiv:1805.02867) and 2 (backward from O and LSE, scores computed again). What differs: tiles are summed
/// in an order that depends on the problem alone, so that results are the same bits for any number of threads.
/// </para>
/// </remarks>
public sealed unsafe partial class DenseAttentionPlan<T>
    : AttentionPlan, ICachedPlan<DenseAttentionPlan<T>, AttentionShape, DenseOptions>
    where T : unmanaged
{
    private readonly DenseSpecs _specs;

    /// <summary>Prepares a plan.</summary>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: plain softmax attention.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public DenseAttentionPlan(AttentionShape shape, DenseOptions? options = null, AttentionDevice? device = null)
        : base(device ?? AttentionDevice.Cpu, MakeNative(shape, options, device))
    {
        Shape = shape;
        Options = options ?? DenseAttention.DefaultOptions;
        try
        {
            _specs = new DenseSpecs(shape, Options, ElementTypeOf<T>.Float);
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
    public DenseOptions Options { get; }

    /// <summary>Computes the output.</summary>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="value">Values, [B, Hv, Lk, Dv].</param>
    /// <param name="output">Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</param>
    /// <param name="lse">Receives the natural logarithm of each row's sum, [B, Hq, Lq]; default: not wanted.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, TensorOut<T> output, TensorOut<float> lse = default,
        CancellationToken cancellationToken = default)
    {
        var arguments = new DenseForwardArguments<T>
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
    public void Forward(in DenseForwardArguments<T> arguments, CancellationToken cancellationToken = default)
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
    /// cref="DenseOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Backward(in DenseBackwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        BackwardHeld(in arguments, cancellationToken);
    }

    static DenseAttentionPlan<T> ICachedPlan<DenseAttentionPlan<T>, AttentionShape, DenseOptions>.Make(
        AttentionShape shape, DenseOptions options, AttentionDevice device, bool isBackward) =>
        new(shape, isBackward ? options with { Backward = true } : options, device);

    private static PlanHandle MakeNative(AttentionShape shape, DenseOptions? options, AttentionDevice? device)
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_dense_problem problem = DenseSpecs.CreateProblem(
            shape, options ?? DenseAttention.DefaultOptions, ElementTypeOf<T>.Float);
        DeviceHandle opened = (device ?? AttentionDevice.Cpu).Handle;
        fattn_plan* plan;
        using HandleScope scope = default;
        scope.Add(opened);
        NativeCall.Check(
            NativeMethods.fattn_dense_plan(opened.Pointer, &problem, &plan), nameof(DenseAttentionPlan<T>));
        return new PlanHandle(plan);
    }
}
