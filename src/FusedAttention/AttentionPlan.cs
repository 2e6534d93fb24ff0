// What the plans of all families have in common: where they run, what can be asked of them, their end. Base of the plan
// classes.
using System;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>A problem prepared once, to be run many times.</summary>
/// <remarks>
/// Runs allocate nothing on the managed heap (unless their token can be cancelled) and may be concurrent, with distinct
/// outputs. Results do not depend on the number of threads or on other callers. A plan may outlive its device, and may
/// be disposed while a run of it is under way.
/// <para>
/// On a <see cref="CudaDevice"/> the overloads with a stream take device tensors and only queue their work. Those with
/// spans and host tensors copy every input into pinned memory, from there to the device, and the results the same way
/// back: about the size of the tensors twice over in copies by the processor and once each way over the bus, pinned and
/// device memory of that size kept for the next run (<see cref="AttentionDevice.Trim"/> frees it), and a wait for the
/// GPU. There a token is looked at before the run alone, the number of threads says nothing, and the device must not be
/// disposed before.
/// </para>
/// </remarks>
public abstract class AttentionPlan : IDisposable
{
    private readonly ulong _forwardWorkspace;
    private readonly ulong _backwardWorkspace;

    /// <summary>Takes over a native plan.</summary>
    private protected AttentionPlan(AttentionDevice device, PlanHandle handle)
    {
        Device = device;
        Handle = handle;
        if (device is CudaDevice)
        {
            (_forwardWorkspace, _backwardWorkspace) = PlanQueries.GetDeviceWorkspaces(handle);
        }
    }

    /// <summary>Where the plan runs.</summary>
    public AttentionDevice Device { get; }

    /// <summary>The native plan.</summary>
    internal PlanHandle Handle { get; }

    /// <summary>Device memory of a run over host tensors; 0 for a pass that the plan was made without.</summary>
    internal ulong WorkspaceOnDevice(AttentionPass pass) =>
        pass == AttentionPass.Forward ? _forwardWorkspace : _backwardWorkspace;

    /// <summary>Kernel, memory and work of this plan.</summary>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The description.</returns>
    public PlanDescription Describe() => PlanQueries.Describe(Handle);

    /// <summary>Host memory a run needs, taken from the device's pool; 0 on a GPU.</summary>
    /// <param name="pass">Forward or backward.</param>
    /// <param name="maxThreads">Most threads the run may use, 0 for the device's own number.</param>
    /// <exception cref="AttentionException">The number of threads is negative, or the plan was made without that
    /// pass.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>Bytes of host memory.</returns>
    public ulong GetWorkspaceBytes(AttentionPass pass, int maxThreads = 0) =>
        PlanQueries.GetWorkspaceBytes(Handle, pass, maxThreads);

    /// <summary>Device memory a run needs: 0 on the CPU.</summary>
    /// <param name="pass">Forward or backward.</param>
    /// <exception cref="AttentionException">The plan was made without that pass.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>Bytes, to be 64-byte aligned.</returns>
    public ulong GetDeviceWorkspaceBytes(AttentionPass pass) => PlanQueries.GetDeviceWorkspaceBytes(Handle, pass);

    /// <summary>
    /// Gives a stream the workspace that runs of this plan need when they bring none. A run never allocates.
    /// </summary>
    /// <param name="pass">Forward or backward.</param>
    /// <param name="stream">A stream of the plan's device; where its workspace has to grow, its work is waited
    /// for.</param>
    /// <exception cref="AttentionException">The plan was made without that pass, the stream is of another device or is
    /// being captured, or there is no memory.</exception>
    /// <exception cref="ObjectDisposedException">The plan or the stream was disposed.</exception>
    public void Prepare(AttentionPass pass, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        PlanQueries.Prepare(Handle, pass, stream);
    }

    /// <summary>How much of the score matrix the plan visits.</summary>
    /// <exception cref="AttentionException">The family has no score matrix, or what is visited is not known before a
    /// run.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The sums.</returns>
    public ScheduleStats GetScheduleStats() => PlanQueries.GetScheduleStats(Handle);

    /// <summary>The tiles of one batch entry and query head.</summary>
    /// <param name="batch">Batch entry, from 0.</param>
    /// <param name="head">Query head, from 0.</param>
    /// <exception cref="AttentionException">There is no such batch entry or head, or no map as for
    /// <see cref="GetScheduleStats"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan was disposed.</exception>
    /// <returns>The map.</returns>
    public TileMap GetTileMap(long batch = 0, long head = 0) => PlanQueries.GetTileMap(Handle, batch, head);

    /// <summary>Releases the native plan once no run uses it. Disposing twice is fine.</summary>
    public void Dispose()
    {
        Handle.Dispose();
        GC.SuppressFinalize(this);
    }
}
