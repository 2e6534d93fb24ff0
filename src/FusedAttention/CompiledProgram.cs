// A program that NVRTC compiled and a GPU has loaded. Made by NvrtcCompiler.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>A compiled program; its kernels are found by name.</summary>
/// <remarks>Thread-safe. Kernels keep it; launches under way end before its code is unloaded.</remarks>
public sealed unsafe class CompiledProgram : IDisposable
{
    private readonly ProgramHandle _module;

    internal CompiledProgram(CudaDevice device, fattn_module* module, string log)
    {
        Device = device;
        Log = log;
        _module = new ProgramHandle(module);
        fattn_module_description info = default;
        info.struct_size = (uint)sizeof(fattn_module_description);
        NativeCall.Check(NativeMethods.fattn_module_info(module, &info), "CompiledProgram");
        Target = Marshal.PtrToStringUTF8((nint)info.target) ?? "";
        Ptx = Marshal.PtrToStringUTF8((nint)info.ptx) ?? "";
        MachineCode = new ReadOnlyMemory<byte>(new ReadOnlySpan<byte>(info.cubin, (int)info.cubin_bytes).ToArray());
        IsFromCache = info.from_cache != 0;
        CompilerVersion = (int)info.nvrtc_version;
    }

    /// <summary>Where it is loaded.</summary>
    public CudaDevice Device { get; }

    /// <summary>What it was compiled for, as "sm_80".</summary>
    public string Target { get; }

    /// <summary>Its PTX.</summary>
    public string Ptx { get; }

    /// <summary>Its machine code; empty where the target is no machine.</summary>
    public ReadOnlyMemory<byte> MachineCode { get; }

    /// <summary>Whether the cache had it.</summary>
    public bool IsFromCache { get; }

    /// <summary>Version of the compiler, as 12040 for 12.4.</summary>
    public int CompilerVersion { get; }

    /// <summary>Warnings of the compiler; empty when there are none.</summary>
    public string Log { get; }

    /// <summary>Finds a kernel.</summary>
    /// <param name="name">Its extern "C" name, one of the <see cref="CompileOptions.Expressions"/>, or its
    /// symbol.</param>
    /// <exception cref="AttentionException">The program has no such kernel.</exception>
    /// <exception cref="ObjectDisposedException">The program was disposed.</exception>
    /// <returns>The kernel, to be disposed by the caller.</returns>
    public CompiledKernel GetKernel(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        using HandleScope scope = default;
        scope.Add(_module);
        using var texts = new NativeTexts();
        fattn_kernel* kernel;
        NativeCall.Check(
            NativeMethods.fattn_module_kernel(_module.Pointer, texts.Add(name), &kernel), "CompiledProgram.GetKernel");
        return new CompiledKernel(name, kernel);
    }

    /// <summary>Releases the program once no kernel of it is held. Disposing twice is fine.</summary>
    public void Dispose() => _module.Dispose();
}
