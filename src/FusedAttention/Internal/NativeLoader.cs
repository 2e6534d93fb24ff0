// Finds and loads the native library and checks that it matches. Called once by NativeRuntime.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>The places to look in, and what came of it.</summary>
internal sealed unsafe class NativeLoader
{
    private readonly List<NativeLoadAttempt> _attempts = [];

    private NativeLoader()
    {
    }

    /// <summary>Every place looked in so far.</summary>
    internal IReadOnlyList<NativeLoadAttempt> Attempts => _attempts;

    /// <summary>Handle of the library, or 0.</summary>
    internal nint Handle { get; private set; }

    /// <summary>Where the library was found, or null.</summary>
    internal string? Path { get; private set; }

    /// <summary>Version text of the native library, or null.</summary>
    internal string? NativeVersion { get; private set; }

    /// <summary>Interface version of the native library, or null.</summary>
    internal uint? NativeAbiVersion { get; private set; }

    /// <summary>Why the library cannot be used, or null.</summary>
    internal string? Error { get; private set; }

    /// <summary>Version of this assembly.</summary>
    internal static string ManagedVersion { get; } = ReadManagedVersion();

    /// <summary>The file name of the library on this system.</summary>
    internal static string FileName =>
        OperatingSystem.IsWindows() ? $"{NativeMethods.LibraryName}.dll"
        : OperatingSystem.IsMacOS() ? $"lib{NativeMethods.LibraryName}.dylib"
        : $"lib{NativeMethods.LibraryName}.so";

    /// <summary>
    /// The places for a configured path (or none), in order. The last, a bare name, is the system's search.
    /// </summary>
    internal static IReadOnlyList<string> Places(string? configuredPath)
    {
        if (configuredPath is not null)
        {
            return [configuredPath];
        }

        string folder = AppContext.BaseDirectory;
        var places = new List<string>
        {
            System.IO.Path.Combine(folder, FileName),
            System.IO.Path.Combine(folder, "runtimes", RuntimeInformation.RuntimeIdentifier, "native", FileName),
        };
        string search = AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "";
        places.AddRange(search.Split(System.IO.Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => System.IO.Path.Combine(directory, FileName)));
        places.Add(FileName);
        return places.Distinct().ToList();
    }

    /// <summary>Tries the places in order and checks the first library that loads.</summary>
    internal static NativeLoader Load(IReadOnlyList<string> places)
    {
        var loader = new NativeLoader();
        foreach (string place in places)
        {
            if (loader.TryLoad(place))
            {
                loader.Check();
                return loader;
            }
        }

        loader.Error = $"The native library {FileName}, wanted by FusedAttention {ManagedVersion} (interface version "
            + $"{NativeMethods.FATTN_ABI_VERSION}), was not found. Looked in:{Environment.NewLine}"
            + string.Join(Environment.NewLine, loader._attempts.Select(a => $"  {a.Place}: {a.Result}"));
        return loader;
    }

    private bool TryLoad(string place)
    {
        bool isFile = System.IO.Path.IsPathRooted(place);
        if (isFile && !File.Exists(place))
        {
            _attempts.Add(new NativeLoadAttempt(place, "no such file"));
            return false;
        }

        try
        {
            Handle = NativeLibrary.Load(place);
        }
        catch (Exception error) when (error is DllNotFoundException or BadImageFormatException)
        {
            _attempts.Add(new NativeLoadAttempt(place, error.Message.ReplaceLineEndings(" ").Trim()));
            return false;
        }

        _attempts.Add(new NativeLoadAttempt(place, "loaded"));
        Path = place;
        return true;
    }

    private void Check()
    {
        if (!NativeLibrary.TryGetExport(Handle, nameof(NativeMethods.fattn_abi_describe), out nint describe))
        {
            Error = $"{Path} has no {nameof(NativeMethods.fattn_abi_describe)}: it is not what FusedAttention "
                + $"{ManagedVersion} (interface version {NativeMethods.FATTN_ABI_VERSION}) was made for.";
            return;
        }

        fattn_abi_description description = default;
        description.struct_size = (uint)sizeof(fattn_abi_description);
        fattn_status status = ((delegate* unmanaged[Cdecl]<fattn_abi_description*, fattn_status>)describe)(
            &description);
        if (status != fattn_status.FATTN_STATUS_OK)
        {
            Error = $"{Path} does not describe its interface to FusedAttention {ManagedVersion}: status {status}.";
            return;
        }

        NativeVersion = Marshal.PtrToStringUTF8((nint)description.library_version) ?? "unknown";
        NativeAbiVersion = description.abi_version;
        string? difference = AbiCheck.FindDifference(
            NativeMethods.FATTN_ABI_VERSION, AbiTable.CreateEntries(), description.abi_version,
            AbiCheck.Read(description));
        Error = difference is null ? null : Mismatch(Path!, NativeVersion, difference);
    }

    /// <summary>The sentence for a library whose interface is another one.</summary>
    internal static string Mismatch(string path, string nativeVersion, string difference) =>
        $"{path} (version {nativeVersion}) does not match FusedAttention {ManagedVersion}: {difference}. Use the "
        + "native file that came with this assembly.";

    private static string ReadManagedVersion()
    {
        Assembly assembly = typeof(NativeLoader).Assembly;
        string? text = assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion;
        return text?.Split('+')[0] ?? assembly.GetName().Version?.ToString() ?? "unknown";
    }
}
