// Compares what the native library says about its interface with this assembly. Called by NativeLoader after loading.
using System.Collections.Generic;
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>Finds the first difference between two views of the C interface.</summary>
internal static unsafe class AbiCheck
{
    /// <summary>The native side's table as managed values.</summary>
    internal static List<AbiEntry> Read(in fattn_abi_description description)
    {
        var entries = new List<AbiEntry>((int)description.num_entries);
        for (ulong i = 0; i < description.num_entries; ++i)
        {
            fattn_abi_entry* entry = description.entries + i;
            entries.Add(new AbiEntry(
                Marshal.PtrToStringUTF8((nint)entry->structure) ?? "",
                Marshal.PtrToStringUTF8((nint)entry->field), entry->offset, entry->size));
        }

        return entries;
    }

    /// <summary>A sentence about the first difference, or null when both sides agree.</summary>
    internal static string? FindDifference(
        uint managedVersion, IReadOnlyList<AbiEntry> managed, uint nativeVersion, IReadOnlyList<AbiEntry> native)
    {
        if (managedVersion != nativeVersion)
        {
            return $"this assembly was built for interface version {managedVersion}, the native library has version "
                + $"{nativeVersion}";
        }

        var places = new Dictionary<(string, string?), AbiEntry>(native.Count);
        foreach (AbiEntry entry in native)
        {
            places[(entry.Structure, entry.Field)] = entry;
        }

        foreach (AbiEntry entry in managed)
        {
            string name = entry.Field is null ? entry.Structure : $"{entry.Structure}.{entry.Field}";
            if (!places.TryGetValue((entry.Structure, entry.Field), out AbiEntry other))
            {
                return $"the native library does not know {name}";
            }

            if (other != entry)
            {
                return $"{name} is {entry.Size} bytes at offset {entry.Offset} here, {other.Size} bytes at offset "
                    + $"{other.Offset} in the native library";
            }
        }

        return native.Count == managed.Count
            ? null
            : $"the native library describes {native.Count} structs and fields, this assembly {managed.Count}";
    }
}
