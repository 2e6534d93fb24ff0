// The tensors of one measured case in memory of a GPU; made by CaseTensors.
using System;
using System.Collections.Generic;

namespace FusedAttention.Cli.Measuring;

/// <summary>Copies of a case's inputs, places for its results, and the stream its runs are timed in.</summary>
/// <typeparam name="T">Element type of the case.</typeparam>
/// <typeparam name="TElements">Its conversions.</typeparam>
internal sealed class DeviceCaseTensors<T, TElements> : IDisposable
    where T : unmanaged
    where TElements : IElements<T>
{
    private readonly List<IDisposable> _all = [];
    private readonly CudaDevice _device;
    private readonly CaseTensors<T, TElements> _host;

    internal DeviceCaseTensors(CudaDevice device, AttentionPlan plan, CaseTensors<T, TElements> host)
    {
        _device = device;
        _host = host;
        Stream = Keep(device.CreateStream());
        PlanDescription description = plan.Describe();
        ulong bytes = Math.Max(description.ForwardDeviceWorkspaceBytes, description.BackwardDeviceWorkspaceBytes);
        Workspace = bytes == 0 ? default : (DeviceTensor<byte>)Make<byte>((long)bytes);
        Q = Upload(host.Q);
        K = Upload(host.K);
        V = Upload(host.V);
        OutputGradient = Upload(host.OutputGradient);
        Output = Make<T>(host.Output.Length);
        Lse = Make<float>(host.Lse.Length);
        Lse.Clear(Stream); // not every family writes it
        QueryGradient = Make<T>(host.QueryGradient.Length);
        KeyGradient = Make<T>(host.KeyGradient.Length);
        ValueGradient = Make<T>(host.ValueGradient.Length);
    }

    internal CudaStream Stream { get; }

    /// <summary>What the larger pass needs; runs in one stream share it.</summary>
    internal DeviceTensor<byte> Workspace { get; }

    internal DeviceBuffer<T> Q { get; }

    internal DeviceBuffer<T> K { get; }

    internal DeviceBuffer<T> V { get; }

    internal DeviceBuffer<T> OutputGradient { get; }

    internal DeviceBuffer<T> Output { get; }

    internal DeviceBuffer<float> Lse { get; }

    internal DeviceBuffer<T> QueryGradient { get; }

    internal DeviceBuffer<T> KeyGradient { get; }

    internal DeviceBuffer<T> ValueGradient { get; }

    /// <summary>A tensor of the case's own.</summary>
    internal DeviceBuffer<TElement> Upload<TElement>(TElement[] values)
        where TElement : unmanaged => Keep(_device.Upload<TElement>(values));

    /// <summary>A tensor of the case's own that runs write.</summary>
    internal DeviceBuffer<TElement> Make<TElement>(long count)
        where TElement : unmanaged => Keep(_device.Allocate<TElement>(count));

    /// <summary>Copies output and LSE to where they are compared.</summary>
    internal void DownloadOutput()
    {
        Output.CopyTo(_host.Output, Stream);
        Lse.CopyTo(_host.Lse, Stream);
    }

    /// <summary>Copies the gradients to where they are compared.</summary>
    internal void DownloadGradients()
    {
        QueryGradient.CopyTo(_host.QueryGradient, Stream);
        KeyGradient.CopyTo(_host.KeyGradient, Stream);
        ValueGradient.CopyTo(_host.ValueGradient, Stream);
    }

    public void Dispose() => _all.ForEach(static one => one.Dispose());

    private TObject Keep<TObject>(TObject made)
        where TObject : IDisposable
    {
        _all.Add(made);
        return made;
    }
}
