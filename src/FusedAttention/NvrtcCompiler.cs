// Compiles CUDA C++ at run time. Called by programs that put kernels of their own between runs.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>NVRTC, NVIDIA's run-time compiler, found on the machine; the library itself needs none.</summary>
/// <remarks>
/// Thread-safe. What was compiled is kept in the folder that <see cref="CudaReport.Cache"/> names, by content of program,
/// options, target and compiler version. <see cref="NativeRuntime.Probe"/> tells where NVRTC was found or looked for.
/// </remarks>
public static unsafe class NvrtcCompiler
{
    private const int LogBytes = 1 << 16;

    /// <summary>True when programs can be compiled here. Never throws.</summary>
    public static bool IsAvailable => NativeRuntime.Probe().Cuda is { NvrtcVersion: > 0 };

    /// <summary>Compiles a program and loads it on a GPU.</summary>
    /// <param name="device">Where its kernels will run.</param>
    /// <param name="source">CUDA C++. Kernels declared <c>extern "C" __global__</c> are found by their names.</param>
    /// <param name="options">How; null: for the device, without options.</param>
    /// <exception cref="AttentionException">NVRTC is absent (<see cref="AttentionStatus.DeviceUnavailable"/>), the target
    /// does not suit, or the program is wrong: <see cref="AttentionException.CompilerLog"/> then has all that the compiler
    /// said.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The program, to be disposed by the caller.</returns>
    /// <remarks>Some tenths of a second; some milliseconds when the cache has it.</remarks>
    public static CompiledProgram Compile(CudaDevice device, string source, CompileOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(source);
        options ??= new CompileOptions();
        using HandleScope scope = default;
        scope.Add(device.Handle);
        using var texts = new NativeTexts();
        byte* log = (byte*)NativeMemory.Alloc(LogBytes);
        try
        {
            log[0] = 0;
            fattn_compile_args args = default;
            args.struct_size = (uint)sizeof(fattn_compile_args);
            args.flags = options.UseCache ? 0 : (uint)fattn_compile_flags.FATTN_COMPILE_NO_CACHE;
            args.source = texts.Add(source);
            args.source_name = texts.Add(options.SourceName);
            args.options = texts.Add(options.Options);
            args.num_options = (ulong)options.Options.Count;
            args.header_names = texts.Add([.. options.Headers.Keys]);
            args.header_texts = texts.Add([.. options.Headers.Values]);
            args.num_headers = (ulong)options.Headers.Count;
            args.expressions = texts.Add(options.Expressions);
            args.num_expressions = (ulong)options.Expressions.Count;
            args.target = texts.Add(options.Target);
            args.log = log;
            args.log_bytes = LogBytes;
            fattn_module* module;
            fattn_status status = NativeMethods.fattn_module_compile(device.Handle.Pointer, &args, &module);
            string words = NativeCall.Text(log, LogBytes);
            if (status == fattn_status.FATTN_STATUS_INVALID_ARGUMENT)
            {
                throw new AttentionException(
                    AttentionStatus.InvalidArgument, "NvrtcCompiler.Compile", NativeCall.LastError())
                {
                    CompilerLog = words,
                };
            }

            NativeCall.Check(status, "NvrtcCompiler.Compile");
            return new CompiledProgram(device, module, words);
        }
        finally
        {
            NativeMemory.Free(log);
        }
    }
}
