// Where the native library comes from, and whether it can be used. Every other type goes through here first.
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>The native library of this process.</summary>
/// <remarks>
/// The library is loaded at first use: from the configured path, or else from the program's folder, the folders of its
/// packages, and where the system looks. It stays loaded until the process ends. All members are thread-safe.
/// </remarks>
public static unsafe class NativeRuntime
{
    private static readonly object Gate = new();
    private static NativeLoader? _loader;
    private static string? _configuredPath;
    private static bool _hasResolver;

    /// <summary>Names the file to load. Must come before the first use of the library.</summary>
    /// <param name="libraryPath">Path of the native library.</param>
    /// <exception cref="ArgumentException">The path is empty.</exception>
    /// <exception cref="InvalidOperationException">The library is already loaded.</exception>
    public static void Configure(string libraryPath)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(libraryPath);
        lock (Gate)
        {
            if (_loader is { Error: null })
            {
                throw new InvalidOperationException(
                    $"NativeRuntime.Configure was asked for '{libraryPath}', but {_loader.Path} is already in use; "
                    + "configure the path before any other call.");
            }

            _configuredPath = Path.GetFullPath(libraryPath);
            Volatile.Write(ref _loader, null);
        }
    }

    /// <summary>Tries to load the library and tells everything about it. Never throws.</summary>
    /// <returns>What was tried and found.</returns>
    public static NativeRuntimeReport Probe()
    {
        NativeLoader loader = GetLoader();
        var devices = new List<DeviceDescription>();
        var unavailable = new List<string>();
        string? error = loader.Error;
        CudaReport? cuda = null;
        if (error is null)
        {
            try
            {
                devices.Add(AttentionDevice.Cpu.Describe());
                devices.AddRange(AttentionDevice.DescribeCuda());
                unavailable.Add(AttentionDevice.ExplainCuda());
                cuda = CudaReport.Read();
            }
            catch (AttentionException failure)
            {
                error = failure.Message;
            }
        }

        return new NativeRuntimeReport
        {
            IsLoaded = error is null,
            LibraryPath = loader.Path,
            Attempts = loader.Attempts,
            ManagedVersion = NativeLoader.ManagedVersion,
            NativeVersion = loader.NativeVersion,
            ExpectedAbiVersion = NativeMethods.FATTN_ABI_VERSION,
            NativeAbiVersion = loader.NativeAbiVersion,
            Error = error,
            Devices = devices,
            UnavailableDevices = unavailable,
            Cuda = cuda,
        };
    }

    /// <summary>Loads the library if that has not happened yet.</summary>
    /// <exception cref="NativeLibraryLoadException">It cannot be used.</exception>
    internal static void EnsureLoaded()
    {
        NativeLoader loader = GetLoader();
        if (loader.Error is not null)
        {
            throw new NativeLibraryLoadException(loader.Error, loader.Attempts);
        }
    }

    /// <summary>Handle of the loaded library.</summary>
    internal static nint Handle
    {
        get
        {
            EnsureLoaded();
            return GetLoader().Handle;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static NativeLoader GetLoader() => Volatile.Read(ref _loader) ?? LoadOnce();

    private static NativeLoader LoadOnce()
    {
        lock (Gate)
        {
            if (_loader is null)
            {
                if (!_hasResolver)
                {
                    NativeLibrary.SetDllImportResolver(
                        typeof(NativeRuntime).Assembly,
                        static (name, _, _) => name == NativeMethods.LibraryName ? GetLoader().Handle : 0);
                    _hasResolver = true;
                }

                Volatile.Write(ref _loader, NativeLoader.Load(NativeLoader.Places(_configuredPath)));
            }

            return _loader!;
        }
    }
}
