// A kernel of a program compiled at run time. Found by CompiledProgram, launched by callers.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>A kernel, ready to be launched.</summary>
/// <remarks>Thread-safe. It keeps its program; a launch under way ends before the code is unloaded.</remarks>
public sealed unsafe class CompiledKernel : IDisposable
{
    private const int MostArguments = 256;
    private const int MostOwners = 20;
    private readonly KernelHandle _kernel;

    internal CompiledKernel(string name, fattn_kernel* kernel)
    {
        Name = name;
        _kernel = new KernelHandle(kernel);
        fattn_kernel_description info = default;
        info.struct_size = (uint)sizeof(fattn_kernel_description);
        NativeCall.Check(NativeMethods.fattn_kernel_info(kernel, &info), "CompiledKernel");
        Registers = info.registers;
        StaticSharedBytes = info.static_shared_bytes;
        LocalBytes = info.local_bytes;
        MaxThreadsPerBlock = info.max_threads_per_block;
        NumParameters = info.num_parameters < 0 ? null : info.num_parameters;
    }

    /// <summary>The name it was found by.</summary>
    public string Name { get; }

    /// <summary>Registers of a thread.</summary>
    public int Registers { get; }

    /// <summary>Shared memory of a block that the source declares, in bytes.</summary>
    public int StaticSharedBytes { get; }

    /// <summary>Local memory of a thread in bytes: spilled registers and arrays.</summary>
    public int LocalBytes { get; }

    /// <summary>Most threads of a block.</summary>
    public int MaxThreadsPerBlock { get; }

    /// <summary>Parameters; null when the driver (before CUDA 12.4) does not tell.</summary>
    public int? NumParameters { get; }

    /// <summary>Queues a launch.</summary>
    /// <param name="stream">Where it is queued, a stream of the program's device.</param>
    /// <param name="size">Blocks and threads.</param>
    /// <param name="arguments">The values of the kernel's parameters, at most 256, at most 20 of them buffers.</param>
    /// <exception cref="ArgumentException">Too many arguments.</exception>
    /// <exception cref="AttentionException">An extent is out of range, number or sizes of the arguments are not the
    /// kernel's (where the driver tells), the stream is of another device, or earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The kernel, the stream or a buffer was disposed.</exception>
    /// <remarks>Values are copied before this returns. What the kernel does wrong is reported by a later call.</remarks>
    public void Launch(CudaStream stream, LaunchSize size, params ReadOnlySpan<KernelArgument> arguments)
    {
        ArgumentNullException.ThrowIfNull(stream);
        if (arguments.Length > MostArguments)
        {
            ThrowHelper.Argument($"{arguments.Length} arguments were given; allowed are {MostArguments}.", nameof(arguments));
        }

        using HandleScope owners = default;
        owners.Add(_kernel);
        owners.Add(stream.Handle);
        void** places = stackalloc void*[arguments.Length];
        ulong* sizes = stackalloc ulong[arguments.Length];
        ulong* words = stackalloc ulong[arguments.Length];
        Span<GCHandle> pins = stackalloc GCHandle[arguments.Length];
        int numPins = 0;
        int numOwners = 0;
        try
        {
            for (int i = 0; i < arguments.Length; ++i)
            {
                ref readonly KernelArgument argument = ref arguments[i];
                if (argument.Owner is not null && ++numOwners > MostOwners)
                {
                    ThrowHelper.Argument(
                        $"More than {MostOwners} of the arguments are buffers; put their addresses into a struct.",
                        nameof(arguments));
                }

                owners.Add(argument.Owner);
                sizes[i] = (ulong)argument.Size;
                words[i] = argument.Bits;
                places[i] = words + i;
                if (argument.Bytes is not null)
                {
                    pins[numPins] = GCHandle.Alloc(argument.Bytes, GCHandleType.Pinned);
                    places[i] = (void*)pins[numPins++].AddrOfPinnedObject();
                }
            }

            fattn_launch_args launch = ToNative(in size);
            launch.arguments = places;
            launch.argument_bytes = sizes;
            launch.num_arguments = (ulong)arguments.Length;
            NativeCall.Check(
                NativeMethods.fattn_kernel_launch(_kernel.Pointer, &launch, stream.Handle.Pointer),
                "CompiledKernel.Launch");
        }
        finally
        {
            foreach (GCHandle pin in pins[..numPins])
            {
                pin.Free();
            }
        }
    }

    /// <summary>Releases the kernel. Disposing twice is fine.</summary>
    public void Dispose() => _kernel.Dispose();

    private static fattn_launch_args ToNative(in LaunchSize size)
    {
        fattn_launch_args launch = default;
        launch.struct_size = (uint)sizeof(fattn_launch_args);
        launch.flags = size.IsCooperative ? (uint)fattn_launch_flags.FATTN_LAUNCH_COOPERATIVE : 0;
        Write(size.Grid, launch.grid, nameof(size.Grid));
        Write(size.Block, launch.block, nameof(size.Block));
        if (size.Cluster is { } cluster)
        {
            Write(cluster, launch.cluster, nameof(size.Cluster));
        }

        ArgumentOutOfRangeException.ThrowIfNegative(size.DynamicSharedBytes, nameof(size));
        launch.dynamic_shared_bytes = (uint)size.DynamicSharedBytes;
        return launch;
    }

    private static void Write(Extent3 extent, uint* to, string name)
    {
        if (extent.X < 1 || extent.Y < 1 || extent.Z < 1)
        {
            ThrowHelper.Argument(
                $"{name} is {extent.X} x {extent.Y} x {extent.Z}; each extent must be at least 1.", "size");
        }

        to[0] = (uint)extent.X;
        to[1] = (uint)extent.Y;
        to[2] = (uint)extent.Z;
    }
}
