// One run over device tensors, queued in a stream. Used by the plans.
using System;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>
/// Takes tensor by tensor: each is compared with what the plan expects and held until the run is queued.
/// </summary>
internal unsafe ref struct QueuedRun
{
    private readonly CudaStream _stream;
    private HandleScope _owners;

    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan or the stream was disposed.</exception>
    internal QueuedRun(AttentionPlan plan, CudaStream stream, string operation)
    {
        ArgumentNullException.ThrowIfNull(stream);
        if (plan.Device is not CudaDevice)
        {
            throw new InvalidOperationException(
                $"{operation} was given device tensors, but the plan runs on the CPU; make it with a CudaDevice.");
        }

        _stream = stream;
        _owners = default;
        try
        {
            _owners.Add(plan.Handle);
            _owners.Add(stream.Handle);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The address of a tensor that the run needs.</summary>
    internal void* Take<T>(TensorSpec spec, in DeviceTensor<T> tensor)
        where T : unmanaged
    {
        spec.Check(in tensor);
        return Hold(in tensor);
    }

    /// <summary>The address of a tensor that may be left out, or null.</summary>
    internal void* TakeIfGiven<T>(TensorSpec spec, in DeviceTensor<T> tensor)
        where T : unmanaged
    {
        spec.CheckIfGiven(in tensor);
        return Hold(in tensor);
    }

    /// <summary>The address of a tensor that an option announces, or null.</summary>
    internal void* TakeAnnounced<T>(TensorSpec? spec, in DeviceTensor<T> tensor, string name, string option)
        where T : unmanaged
    {
        TensorSpec.CheckAnnounced(spec, in tensor, name, option);
        return Hold(in tensor);
    }

    /// <summary>The same of a result, which may be left out.</summary>
    internal void* TakeAnnouncedIfGiven<T>(TensorSpec? spec, in DeviceTensor<T> tensor, string name, string option)
        where T : unmanaged
    {
        TensorSpec.CheckAnnouncedIfGiven(spec, in tensor, name, option);
        return Hold(in tensor);
    }

    /// <summary>How the run is carried out: in the stream, in its own memory where some is given.</summary>
    internal fattn_run With(in DeviceTensor<byte> workspace)
    {
        fattn_run run = default;
        run.struct_size = (uint)sizeof(fattn_run);
        run.stream = (void*)_stream.Native;
        run.workspace = Hold(in workspace);
        run.workspace_bytes = run.workspace is null ? 0 : (ulong)workspace.Length;
        return run;
    }

    /// <summary>Gives all tensors, the stream and the plan back.</summary>
    public void Dispose() => _owners.Dispose();

    /// <summary>The address of a tensor that was compared before, or null.</summary>
    internal void* Hold<T>(in DeviceTensor<T> tensor)
        where T : unmanaged
    {
        _owners.Add(tensor.Owner);
        return (void*)tensor.Address;
    }
}
