// S2 attention for one shape, prepared once and run many times. Used by callers and by S2Attention.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Sharded (S2) attention for one shape and one set of options.</summary>
/// <typeparam name="T">
/// Type of queries, keys and values: <see cref="float"/>, <see cref="Half"/>, <see cref="BFloat16"/> or
/// System.Numerics.BFloat16.
/// </typeparam>
/// <remarks>
/// <para>
/// Time is proportional to the pairs of the blocks that heads see (<see cref="AttentionPlan.GetScheduleStats"/>). The
/// score matrix is never stored, nor is a list of blocks: both sides of the pattern have a closed form. A run allocates
/// nothing on the managed heap. Thread-safe: runs of one plan may be concurrent, with distinct outputs.
/// </para>
/// <para>
/// <see cref="GetCoverage"/> says whether the heads together see the whole context, and
/// <see cref="S2KeyValueCache{T}"/> decodes from the blocks that each head can still see. On a <see cref="CudaDevice"/>
/// the overloads with a stream take device tensors and only queue their work.
/// </para>
/// <para>Source: Lin et al. 2024 (S2-Attention), arXiv:2407.17678, with the pattern of its released kernels.</para>
/// </remarks>
public sealed unsafe partial class S2AttentionPlan<T>
    : AttentionPlan, ICachedPlan<S2AttentionPlan<T>, AttentionShape, S2Options>
    where T : unmanaged
{
    private readonly DenseSpecs _specs;

    /// <summary>Prepares a plan.</summary>
    /// <param name="shape">Extents and layout of the tensors.</param>
    /// <param name="options">What to compute; null: the defaults of <see cref="S2Options"/>.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">Shape and options contradict each other.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public S2AttentionPlan(AttentionShape shape, S2Options? options = null, AttentionDevice? device = null)
        : base(device ?? AttentionDevice.Cpu, MakeNative(shape, options, device))
    {
        Shape = shape;
        Options = options ?? S2Attention.DefaultOptions;
        try
        {
            _specs = new DenseSpecs(shape, S2Specs.DenseOptionsOf(Options), ElementTypeOf<T>.Float);
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
    public S2Options Options { get; }

    /// <summary>Which part of the context the heads see together; its warning says when some part is lost.</summary>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The counts.</returns>
    public S2Coverage GetCoverage()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        fattn_s2_coverage coverage = default;
        coverage.struct_size = (uint)sizeof(fattn_s2_coverage);
        NativeCall.Check(NativeMethods.fattn_s2_coverage_of(Handle.Pointer, &coverage), CoverageName);
        return new S2Coverage(
            coverage.allowed_blocks, coverage.unseen_blocks, coverage.num_shards, coverage.unseen_shards);
    }

    /// <summary>
    /// Which blocks of a key head a cache has to keep once all queries before a position are done: those that some query
    /// at that position or later may see, also past the plan's last query (not causal: up to the last key).
    /// </summary>
    /// <param name="keyHead">Key head, from 0.</param>
    /// <param name="firstPosition">Position, in tokens from 0.</param>
    /// <exception cref="AttentionException">There is no such head or position.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>One value for each of the ceil(Lk / BlockSize) blocks.</returns>
    public bool[] GetNeededBlocks(long keyHead, long firstPosition)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        long block = Options.BlockSize;
        bool[] needed = new bool[(Shape.KeyLength / block) + (Shape.KeyLength % block == 0 ? 0 : 1)];
        fixed (bool* first = needed)
        {
            NativeCall.Check(
                NativeMethods.fattn_s2_needed_blocks(
                    Handle.Pointer, keyHead, firstPosition, (byte*)first, (ulong)needed.LongLength),
                NeededBlocksName);
        }

        return needed;
    }

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
        var arguments = new S2ForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Lse = lse,
        };
        Forward(in arguments, cancellationToken);
    }

    /// <summary>Computes the output, with the number of threads as an argument too.</summary>
    /// <param name="arguments">The tensors of this run.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(in S2ForwardArguments<T> arguments, CancellationToken cancellationToken = default)
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
    /// cref="S2Options.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Backward(in S2BackwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        BackwardHeld(in arguments, cancellationToken);
    }

    static S2AttentionPlan<T> ICachedPlan<S2AttentionPlan<T>, AttentionShape, S2Options>.Make(
        AttentionShape shape, S2Options options, AttentionDevice device, bool isBackward) =>
        new(shape, isBackward ? options with { Backward = true } : options, device);

    private static PlanHandle MakeNative(AttentionShape shape, S2Options? options, AttentionDevice? device)
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_s2_problem problem = S2Specs.CreateProblem(
            shape, options ?? S2Attention.DefaultOptions, ElementTypeOf<T>.Float);
        DeviceHandle opened = (device ?? AttentionDevice.Cpu).Handle;
        fattn_plan* plan;
        using HandleScope scope = default;
        scope.Add(opened);
        NativeCall.Check(
            NativeMethods.fattn_s2_plan(opened.Pointer, &problem, &plan), nameof(S2AttentionPlan<T>));
        return new PlanHandle(plan);
    }
}
