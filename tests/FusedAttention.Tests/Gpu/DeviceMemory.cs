// Buffers on a GPU and a stream, disposed together. Used by the tests of runs over device tensors.
using System;
using System.Collections.Generic;
using FusedAttention.Tests.Support;

namespace FusedAttention.Tests.Gpu;

/// <summary>What one run needs on a device; the stream waits for nothing else.</summary>
internal sealed class DeviceMemory : IDisposable
{
    private readonly List<IDisposable> _all = [];
    private readonly CudaDevice _device;

    internal DeviceMemory(CudaDevice device)
    {
        _device = device;
        Stream = Keep(device.CreateStream());
    }

    internal CudaStream Stream { get; }

    /// <summary>Numbers as elements of another type.</summary>
    internal DeviceBuffer<T> Upload<T>(float[] values)
        where T : unmanaged => Copy(Numbers.From<T>(values));

    internal DeviceBuffer<T> Copy<T>(T[] values)
        where T : unmanaged => Keep(_device.Upload<T>(values));

    internal DeviceBuffer<T> Make<T>(long count)
        where T : unmanaged => Keep(_device.Allocate<T>(count));

    /// <summary>What a buffer holds once the work in the stream is done.</summary>
    internal double[] Doubles<T>(DeviceBuffer<T> buffer)
        where T : unmanaged => Numbers.ToDouble<T>(buffer.ToArray(Stream));

    internal TObject Keep<TObject>(TObject made)
        where TObject : IDisposable
    {
        _all.Add(made);
        return made;
    }

    public void Dispose() => _all.ForEach(static one => one.Dispose());
}
