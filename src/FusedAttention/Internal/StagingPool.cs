// Keeps the memory that runs over spans pass through on a GPU. Held by CudaDevice.
using System.Collections.Concurrent;

namespace FusedAttention.Internal;

/// <summary>Staging memory that no run uses at the moment; each run takes a set of its own.</summary>
internal sealed class StagingPool
{
    private readonly ConcurrentBag<StagedRun> _idle = [];
    private readonly CudaDevice _device;

    internal StagingPool(CudaDevice device) => _device = device;

    internal StagedRun Rent() => _idle.TryTake(out StagedRun? run) ? run : new StagedRun(_device, this);

    /// <summary>Takes back a set whose work is done.</summary>
    internal void Return(StagedRun run)
    {
        _idle.Add(run);
        if (_device.Handle.IsClosed)
        {
            Clear();
        }
    }

    /// <summary>Frees what no run uses.</summary>
    internal void Clear()
    {
        while (_idle.TryTake(out StagedRun? run))
        {
            run.Free();
        }
    }
}
