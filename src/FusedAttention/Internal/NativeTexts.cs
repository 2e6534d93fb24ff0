// Texts as native code reads them, for the length of one call. Used by NvrtcCompiler.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace FusedAttention.Internal;

/// <summary>Zero-terminated UTF-8 in native memory, freed together.</summary>
internal sealed unsafe class NativeTexts : IDisposable
{
    private readonly List<nint> _blocks = [];

    /// <summary>One text; null for null.</summary>
    internal byte* Add(string? text)
    {
        if (text is null)
        {
            return null;
        }

        _blocks.Add(Marshal.StringToCoTaskMemUTF8(text));
        return (byte*)_blocks[^1];
    }

    /// <summary>An array of texts; null for none.</summary>
    internal byte** Add(IReadOnlyCollection<string> texts)
    {
        if (texts.Count == 0)
        {
            return null;
        }

        _blocks.Add(Marshal.AllocCoTaskMem(texts.Count * sizeof(byte*)));
        byte** places = (byte**)_blocks[^1];
        int count = 0;
        foreach (string text in texts)
        {
            ArgumentNullException.ThrowIfNull(text, nameof(texts));
            places[count++] = Add(text);
        }

        return places;
    }

    /// <summary>Frees all texts.</summary>
    public void Dispose()
    {
        foreach (nint block in _blocks)
        {
            Marshal.FreeCoTaskMem(block);
        }

        _blocks.Clear();
    }
}
