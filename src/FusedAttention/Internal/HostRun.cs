// One run over host tensors: on the CPU where they lie, on a GPU through staging memory. Used by the plans.
using System.Threading;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>
/// Fills the native arguments tensor by tensor. On a GPU their addresses become those of copies on the device, and what
/// was written there comes back at the end.
/// </summary>
internal readonly unsafe ref struct HostRun
{
    private readonly RunScope _scope;
    private readonly StagedRun? _staged;
    private readonly ulong _workspaceBytes;

    /// <exception cref="System.OperationCanceledException">The token is cancelled already.</exception>
    internal HostRun(AttentionPlan plan, AttentionPass pass, int maxThreads, CancellationToken cancellationToken)
    {
        if (plan.Device is CudaDevice device)
        {
            cancellationToken.ThrowIfCancellationRequested();
            _workspaceBytes = plan.WorkspaceOnDevice(pass);
            _staged = device.Staging.Rent();
        }
        else
        {
            _scope = new RunScope(maxThreads, cancellationToken);
        }
    }

    /// <summary>A tensor that the run reads; null where it is not given.</summary>
    internal void Input(void** place, void* tensor, TensorSpec? spec)
    {
        *place = tensor;
        if (_staged is not null && spec is not null)
        {
            _staged.Input(place, spec.Bytes);
        }
    }

    /// <summary>A tensor that the run reads; null where it is not given.</summary>
    internal void Input<TElement>(TElement** place, void* tensor, TensorSpec? spec)
        where TElement : unmanaged => Input((void**)place, tensor, spec);

    /// <summary>A tensor that the run writes; null where it is not wanted.</summary>
    /// <param name="place">Where the native arguments take its address.</param>
    /// <param name="tensor">Its first element.</param>
    /// <param name="spec">What it is.</param>
    /// <param name="isUpdated">Whether the run reads its elements too, or leaves some of them as they are.</param>
    internal void Output(void** place, void* tensor, TensorSpec? spec, bool isUpdated = false)
    {
        *place = tensor;
        if (_staged is not null && spec is not null)
        {
            _staged.Output(place, spec.Bytes, isUpdated || !spec.IsContiguous);
        }
    }

    /// <summary>A tensor that the run writes; null where it is not wanted.</summary>
    internal void Output<TElement>(TElement** place, void* tensor, TensorSpec? spec, bool isUpdated = false)
        where TElement : unmanaged => Output((void**)place, tensor, spec, isUpdated);

    /// <summary>Queues the uploads of a run on a GPU, and says how the run is carried out.</summary>
    internal fattn_run Begin() => _staged is null ? _scope.Settings : _staged.Upload(_workspaceBytes);

    /// <summary>The same on a GPU, after what an event marks.</summary>
    internal fattn_run Begin(CudaEvent ready)
    {
        _staged!.Wait(ready);
        return Begin();
    }

    /// <summary>Waits for the results of a run on a GPU.</summary>
    internal void End() => _staged?.Download();

    /// <summary>Gives back what the run held.</summary>
    public void Dispose()
    {
        _scope.Dispose();
        _staged?.Dispose();
    }
}
