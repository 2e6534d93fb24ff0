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
/// Runs allocate nothing on the managed heap (unless their token can be cancelled) and may be concurrent, with distinct
/// outputs. Results do not depend on the number of threads or on other callers. A plan may outlive its device, and may
/// be disposed while a run of it is under way.
/// </remarks>
public sealed unsafe partial class DenseAttentionPlan<T> : IDisposable
    where T : unmanaged
{
    private readonly PlanHandle _handle;
    private readonly DenseSpecs _specs;

    /// <summary>Prepares a plan.</summary>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: plain softmax attention.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    public DenseAttentionPlan(AttentionShape shape, DenseOptions? options = null, AttentionDevice? device = null)
    {
        ArgumentNullException.ThrowIfNull(shape);
        Shape = shape;
        Options = options ?? DenseAttention.DefaultOptions;
        Device = device ?? AttentionDevice.Cpu;
        ElementType element = ElementTypeOf<T>.Float;
        fattn_dense_problem problem = DenseSpecs.CreateProblem(shape, Options, element);
        fattn_plan* plan;
        using (HandleScope scope = default)
        {
            scope.Add(Device.Handle);
            NativeCall.Check(
                NativeMethods.fattn_dense_plan(Device.Handle.Pointer, &problem, &plan), nameof(DenseAttentionPlan<T>));
        }

        _handle = new PlanHandle(plan);
        try
        {
            _specs = new DenseSpecs(shape, Options, element);
        }
        catch
        {
            _handle.Dispose();
            throw;
        }
    }

    /// <summary>Extents and layout of the tensors.</summary>
    public AttentionShape Shape { get; }

    /// <summary>What the plan computes.</summary>
    public DenseOptions Options { get; }

    /// <summary>Where the plan runs.</summary>
    public AttentionDevice Device { get; }

    /// <summary>The native plan.</summary>
    internal PlanHandle Handle => _handle;

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
        scope.Add(_handle);
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
        scope.Add(_handle);
        BackwardHeld(in arguments, cancellationToken);
    }

    /// <summary>Kernel, memory and work of this plan.</summary>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The description.</returns>
    public PlanDescription Describe() => PlanQueries.Describe(_handle);

    /// <summary>Memory a run needs, taken from the device's pool.</summary>
    /// <param name="pass">Forward or backward.</param>
    /// <param name="maxThreads">Most threads the run may use, 0 for the device's own number.</param>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>Bytes of host memory.</returns>
    public ulong GetWorkspaceBytes(AttentionPass pass, int maxThreads = 0) =>
        PlanQueries.GetWorkspaceBytes(_handle, pass, maxThreads);

    /// <summary>How much of the score matrix the plan visits.</summary>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The sums.</returns>
    public ScheduleStats GetScheduleStats() => PlanQueries.GetScheduleStats(_handle);

    /// <summary>The tiles of one batch entry and query head.</summary>
    /// <param name="batch">Batch entry, from 0.</param>
    /// <param name="head">Query head, from 0.</param>
    /// <exception cref="AttentionException">There is no such batch entry or head.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The map.</returns>
    public TileMap GetTileMap(long batch = 0, long head = 0) => PlanQueries.GetTileMap(_handle, batch, head);

    /// <summary>Releases the native plan once no run uses it. Disposing twice is fine.</summary>
    public void Dispose() => _handle.Dispose();
}
