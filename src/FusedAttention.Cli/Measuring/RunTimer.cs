// Times single runs of a case: by the clock on the CPU, by events of its stream on a GPU; used by the case runner.
using System;
using System.Collections.Generic;
using System.Diagnostics;

namespace FusedAttention.Cli.Measuring;

internal sealed class RunTimer : IDisposable
{
    private const long CopyBytes = 256L << 20;
    private readonly AttentionDevice _device;
    private readonly CudaEvent? _start;
    private readonly CudaEvent? _end;
    private readonly Dictionary<PeakKind, double> _peaks = []; // of a GPU, where each takes a while

    internal RunTimer(AttentionDevice device)
    {
        _device = device;
        if (device is CudaDevice cuda)
        {
            _start = cuda.CreateEvent(timing: true);
            _end = cuda.CreateEvent(timing: true);
        }
    }

    /// <summary>Seconds of one run.</summary>
    /// <param name="run">Queues in the stream, or is done when it returns.</param>
    /// <param name="stream">Null on the CPU.</param>
    internal double Time(Action run, CudaStream? stream)
    {
        if (stream is null)
        {
            long start = Stopwatch.GetTimestamp();
            run();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        _start!.Record(stream);
        run();
        _end!.Record(stream);
        _end.Synchronize();
        return _end.ElapsedSince(_start).TotalSeconds;
    }

    /// <summary>
    /// The machine's peak in the unit of the kind, on a GPU measured once; there the rate of memory is that of a copy,
    /// bytes read and written.
    /// </summary>
    internal double MeasurePeak(PeakKind kind, double seconds)
    {
        if (_device is not CudaDevice cuda)
        {
            return _device.MeasurePeak(kind, seconds: seconds);
        }

        if (!_peaks.TryGetValue(kind, out double peak))
        {
            peak = kind == PeakKind.MemoryRead ? CopyRate(cuda) : cuda.MeasurePeak(kind, seconds: seconds);
            _peaks.Add(kind, peak);
        }

        return peak;
    }

    public void Dispose()
    {
        _start?.Dispose();
        _end?.Dispose();
    }

    // The better of some copies inside the device, 1e9 bytes a second.
    private double CopyRate(CudaDevice device)
    {
        const int Copies = 5;
        long bytes = Math.Min(CopyBytes, device.GetMemoryInfo().Free / 8);
        using CudaStream stream = device.CreateStream();
        using DeviceBuffer<byte> from = device.Allocate<byte>(bytes);
        using DeviceBuffer<byte> to = device.Allocate<byte>(bytes);
        from.Clear(stream);
        double fastest = double.PositiveInfinity;
        for (int copy = 0; copy < Copies; ++copy)
        {
            fastest = Math.Min(fastest, Time(() => to.CopyFrom(from, stream), stream));
        }

        return 2e-9 * bytes / fastest;
    }
}
