// Linear attention for one shape, prepared once and run many times. Used by callers and by LightningAttention.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Linear attention with a decay per head, for one shape and one set of options.</summary>
/// <typeparam name="T">
/// Type of queries, keys and values: <see cref="float"/>, <see cref="Half"/>, <see cref="BFloat16"/> or
/// System.Numerics.BFloat16.
/// </typeparam>
/// <remarks>
/// <para>
/// Time is proportional to the number of tokens. The memory of a run is independent of it, with two exceptions: the
/// two-sided form keeps, for each thread, the sums of one direction over a part of a sequence (one of up to 16), and
/// the backward pass with <see cref="LightningOptions.Normalize"/> keeps 8 bytes a row;
/// <see cref="AttentionPlan.GetWorkspaceBytes"/> counts both. A sequence may be run in parts: the final state of one
/// run is the initial state of the next, and the state of <c>Step</c>. Thread-safe: runs of one plan may be concurrent,
/// with distinct outputs.
/// </para>
/// <para>
/// Source: Qin et al. 2024 (Lightning Attention-2), arXiv:2401.04658. What differs: states are those after the last
/// token, without a further factor of decay, and slopes of any size neither overflow nor lose the diagonal.
/// </para>
/// </remarks>
public sealed unsafe partial class LightningAttentionPlan<T>
    : AttentionPlan, ICachedPlan<LightningAttentionPlan<T>, AttentionShape, LightningOptions>
    where T : unmanaged
{
    private readonly LightningSpecs _specs;

    /// <summary>Prepares a plan.</summary>
    /// <param name="shape">Extents and layout of the tensors; queries, keys and values have the same tokens, keys and
    /// values the same heads.</param>
    /// <param name="options">What to compute; null: the causal form with nothing else.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <exception cref="ArgumentException">The tensors are larger than any memory.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="AttentionException">The native library refuses the problem, and says why.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public LightningAttentionPlan(
        AttentionShape shape, LightningOptions? options = null, AttentionDevice? device = null)
        : base(device ?? AttentionDevice.Cpu, MakeNative(shape, options, device))
    {
        Shape = shape;
        Options = options ?? LightningAttention.DefaultOptions;
        try
        {
            _specs = new LightningSpecs(shape, Options, ElementTypeOf<T>.Float);
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
    public LightningOptions Options { get; }

    /// <summary>Rows of a state: D, or the features of <see cref="FeatureMap.Taylor2"/>.</summary>
    public long StateRows => _specs.StateRows;

    /// <summary>Columns of a state: Dv, and one more with <see cref="LightningOptions.Normalize"/>.</summary>
    public long StateColumns => _specs.StateColumns;

    /// <summary>Numbers in the states of all heads, [B, Hq, StateRows, StateColumns].</summary>
    public long StateLength => Shape.Batch * Shape.QueryHeads * StateRows * StateColumns;

    /// <summary>Computes the output.</summary>
    /// <param name="query">Queries, [B, Hq, L, D].</param>
    /// <param name="key">Keys, [B, Hk, L, D].</param>
    /// <param name="value">Values, [B, Hk, L, Dv].</param>
    /// <param name="slopes">Decay of each query head per token, [Hq]; finite, 0 or more. See
    /// <see cref="LightningSlopes"/>.</param>
    /// <param name="output">Receives the output, [B, Hq, L, Dv].</param>
    /// <param name="finalState">Receives the state after the last token, [B, Hq, StateRows, StateColumns]; default: not
    /// wanted.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, ReadOnlySpan<float> slopes, TensorOut<T> output,
        TensorOut<float> finalState = default, CancellationToken cancellationToken = default)
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
        Forward(in arguments, cancellationToken);
    }

    /// <summary>Computes the output, from an initial state when the plan's options announce one.</summary>
    /// <param name="arguments">The tensors of this run.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Forward(in LightningForwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        ForwardHeld(in arguments, cancellationToken);
    }

    /// <summary>Takes one token: updates the state and computes the token's output.</summary>
    /// <param name="query">Query, [B, Hq, 1, D].</param>
    /// <param name="key">Key, [B, Hk, 1, D].</param>
    /// <param name="value">Value, [B, Hk, 1, Dv].</param>
    /// <param name="slopes">Decay of each query head per token, [Hq]; finite, 0 or more.</param>
    /// <param name="state">The state before the token, [B, Hq, StateRows, StateColumns], which becomes the one after
    /// it; zeros before the first token.</param>
    /// <param name="output">Receives the output, [B, Hq, 1, Dv].</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs and state are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The plan's shape has more than one token, or the plan is not causal, or the
    /// native library refuses the run for another reason, which it says.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <remarks>Reads and writes each state once: the cost is that of the memory traffic.</remarks>
    public void Step(
        TensorIn<T> query, TensorIn<T> key, TensorIn<T> value, ReadOnlySpan<float> slopes, TensorOut<float> state,
        TensorOut<T> output, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        var arguments = new LightningForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Slopes = slopes,
            Output = output,
            FinalState = state,
        };
        CheckTensors(in arguments, StepName);
        _specs.StepState.Check(in state);
        Run(in arguments, isStep: true, cancellationToken);
    }

    /// <summary>Computes gradients from the forward run's inputs and the gradient of its output.</summary>
    /// <param name="arguments">The tensors of this run.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="InvalidOperationException">The plan was made without <see
    /// cref="LightningOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Backward(in LightningBackwardArguments<T> arguments, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        BackwardHeld(in arguments, cancellationToken);
    }

    static LightningAttentionPlan<T> ICachedPlan<LightningAttentionPlan<T>, AttentionShape, LightningOptions>.Make(
        AttentionShape shape, LightningOptions options, AttentionDevice device, bool isBackward) =>
        new(shape, isBackward ? options with { Backward = true } : options, device);

    private static PlanHandle MakeNative(AttentionShape shape, LightningOptions? options, AttentionDevice? device)
    {
        ArgumentNullException.ThrowIfNull(shape);
        fattn_lightning_problem problem = LightningSpecs.CreateProblem(
            shape, options ?? LightningAttention.DefaultOptions, ElementTypeOf<T>.Float);
        DeviceHandle opened = (device ?? AttentionDevice.Cpu).Handle;
        fattn_plan* plan;
        using HandleScope scope = default;
        scope.Add(opened);
        NativeCall.Check(
            NativeMethods.fattn_lightning_plan(opened.Pointer, &problem, &plan), nameof(LightningAttentionPlan<T>));
        return new PlanHandle(plan);
    }
}
