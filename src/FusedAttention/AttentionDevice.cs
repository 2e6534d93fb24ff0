// Where attention runs. Given by callers to plans and to the one-call methods.
using System;
using System.Collections.Generic;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>
/// A device that plans run on: the host processor with an instruction set and a number of threads, or a GPU
/// (<see cref="CudaDevice"/>).
/// </summary>
/// <remarks>Thread-safe. Plans keep what they need of their device; it may be disposed before them.</remarks>
public unsafe class AttentionDevice : IDisposable
{
    private static AttentionDevice? _cpu;
    private readonly bool _isShared;

    private protected AttentionDevice(fattn_device* device, bool isShared)
    {
        Handle = new DeviceHandle(device);
        _isShared = isShared;
    }

    /// <summary>
    /// The host processor with its best instruction set. Shared by the process; disposing it does nothing.
    /// </summary>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="AttentionException">The instruction set that the environment demands is not
    /// available.</exception>
    public static AttentionDevice Cpu => Volatile.Read(ref _cpu) ?? OpenShared();

    /// <summary>The device that suits this machine best; <see cref="ChooseBest"/> tells why.</summary>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="AttentionException">No device can be opened.</exception>
    public static AttentionDevice Best => ChooseBest(out _);

    /// <summary>The native device.</summary>
    internal DeviceHandle Handle { get; }

    /// <summary>Chooses the device that suits this machine best.</summary>
    /// <param name="explanation">What was chosen, and why nothing else.</param>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="AttentionException">No device can be opened.</exception>
    /// <returns>The shared CPU: a GPU does not support every problem, and host tensors would be copied.</returns>
    public static AttentionDevice ChooseBest(out string explanation)
    {
        AttentionDevice device = Cpu;
        DeviceDescription description = device.Describe();
        explanation = $"CPU ({description.Name}, {description.Target}, {description.Threads} threads): "
            + $"{description.Reason.TrimEnd('.')}. {ExplainCuda()}";
        return device;
    }

    /// <summary>A GPU, shared by the process; disposing it does nothing.</summary>
    /// <param name="index">Its number, from 0 to <see cref="CudaDevice.Count"/>, excluded.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    /// <exception cref="AttentionException">There is no driver or no such GPU, or it is too old.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <returns>The device; all calls give the same one.</returns>
    public static CudaDevice Cuda(int index = 0) => CudaDevice.OpenShared(index);

    /// <summary>Opens the host processor with an instruction set and a number of threads.</summary>
    /// <param name="target">Instruction set; one that this processor or build lacks is an error.</param>
    /// <param name="threads">Threads of runs that do not say, at most 1024; 0: one for each processor this process may
    /// use.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number of threads is negative.</exception>
    /// <exception cref="AttentionException">The instruction set is not available, or more than 1024 threads were asked
    /// for.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <returns>A device of its own, to be disposed by the caller.</returns>
    public static AttentionDevice Open(CpuTarget target, int threads = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        NativeRuntime.EnsureLoaded();
        fattn_device_options options = default;
        options.struct_size = (uint)sizeof(fattn_device_options);
        options.cpu_target = (fattn_cpu_target)target;
        options.num_threads = threads;
        fattn_device* device;
        NativeCall.Check(
            NativeMethods.fattn_device_open(fattn_device_kind.FATTN_DEVICE_KIND_CPU, 0, &options, &device),
            "AttentionDevice.Open");
        return new AttentionDevice(device, isShared: false);
    }

    /// <summary>Name and abilities of the device.</summary>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The description.</returns>
    public DeviceDescription Describe()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        fattn_device_description info = default;
        info.struct_size = (uint)sizeof(fattn_device_description);
        NativeCall.Check(NativeMethods.fattn_device_info(Handle.Pointer, &info), "AttentionDevice.Describe");
        return new DeviceDescription
        {
            Kind = (DeviceKind)info.kind,
            Index = info.index,
            Name = NativeCall.Text(info.name, 128),
            Target = (CpuTarget)info.cpu_target,
            AvailableTargets = Targets(info.cpu_targets_available),
            BuiltTargets = Targets(info.cpu_targets_built),
            Threads = info.num_threads,
            Reason = NativeCall.Text(info.reason, 256),
            Architecture = info.architecture,
            Multiprocessors = info.num_multiprocessors,
            MemoryBytes = (long)info.memory_bytes,
            SharedBytesPerBlock = info.shared_bytes_per_block,
            L2Bytes = info.l2_bytes,
        };
    }

    /// <summary>Returns workspace that no run uses to the system.</summary>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public void Trim()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        TrimManaged();
        NativeCall.Check(NativeMethods.fattn_device_trim(Handle.Pointer), "AttentionDevice.Trim");
    }

    /// <summary>Measures a limit of the machine, so that a benchmark can state what share of it was reached.</summary>
    /// <param name="kind">What to measure.</param>
    /// <param name="threads">Threads that take part, at most 1024; 0: the device's own number.</param>
    /// <param name="seconds">About how long to measure; positive, at most 60.</param>
    /// <exception cref="ArgumentOutOfRangeException">Threads are negative or seconds are not positive.</exception>
    /// <exception cref="AttentionException">There is no such peak, or threads or seconds are above their
    /// limit.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The rate, in 1e9 operations or bytes per second.</returns>
    public double MeasurePeak(PeakKind kind, int threads = 0, double seconds = 0.2)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(seconds);
        using HandleScope scope = default;
        scope.Add(Handle);
        double result;
        NativeCall.Check(
            NativeMethods.fattn_device_measure(Handle.Pointer, (fattn_peak)kind, threads, seconds, &result),
            "AttentionDevice.MeasurePeak");
        return result;
    }

    /// <summary>Releases the device once no call uses it. Disposing twice is fine; the shared CPU stays.</summary>
    public void Dispose()
    {
        if (!_isShared)
        {
            DisposeManaged();
            Handle.Dispose();
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>Throws after <see cref="Dispose"/>.</summary>
    internal void ThrowIfDisposed()
    {
        if (Handle.IsClosed)
        {
            ThrowHelper.Disposed(nameof(AttentionDevice));
        }
    }

    /// <summary>Frees what the managed side keeps for the next run.</summary>
    private protected virtual void TrimManaged()
    {
    }

    /// <summary>Releases what the managed side made on the device for itself.</summary>
    private protected virtual void DisposeManaged()
    {
    }

    /// <summary>Why <see cref="ChooseBest"/> takes no GPU here, a sentence.</summary>
    internal static string ExplainCuda()
    {
        NativeRuntime.EnsureLoaded();
        fattn_device* device;
        fattn_status status = NativeMethods.fattn_device_open(
            fattn_device_kind.FATTN_DEVICE_KIND_CUDA, 0, null, &device);
        if (status != fattn_status.FATTN_STATUS_OK)
        {
            return $"CUDA: {NativeCall.LastError().TrimEnd('.')}.";
        }

        using var opened = new AttentionDevice(device, isShared: false);
        return $"CUDA: {opened.Describe().Name} is there for dense attention; tensors of the host stay on the CPU unless "
            + "the GPU is asked for.";
    }

    /// <summary>The GPUs that the native library opens here; none without a driver.</summary>
    internal static List<DeviceDescription> DescribeCuda()
    {
        NativeRuntime.EnsureLoaded();
        var found = new List<DeviceDescription>();
        fattn_device* device;
        while (NativeMethods.fattn_device_open(fattn_device_kind.FATTN_DEVICE_KIND_CUDA, found.Count, null, &device)
            == fattn_status.FATTN_STATUS_OK)
        {
            using var opened = new AttentionDevice(device, isShared: false);
            found.Add(opened.Describe());
        }

        return found;
    }

    private static AttentionDevice OpenShared()
    {
        NativeRuntime.EnsureLoaded();
        fattn_device* device;
        NativeCall.Check(NativeMethods.fattn_device_cpu(&device), "AttentionDevice.Cpu");
        var opened = new AttentionDevice(device, isShared: true);
        AttentionDevice? earlier = Interlocked.CompareExchange(ref _cpu, opened, null);
        if (earlier is null)
        {
            return opened;
        }

        opened.Handle.Dispose();
        return earlier;
    }

    private static List<CpuTarget> Targets(uint bits)
    {
        var targets = new List<CpuTarget>();
        foreach (CpuTarget target in Enum.GetValues<CpuTarget>())
        {
            if (target != CpuTarget.Best && (bits & (1u << (int)target)) != 0)
            {
                targets.Add(target);
            }
        }

        return targets;
    }
}
