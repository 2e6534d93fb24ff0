// Says that the native library is missing or is not the one this assembly was built for. Thrown by NativeLoader.
using System;
using System.Collections.Generic;

namespace FusedAttention;

/// <summary>The native library cannot be used: no place has it, or its interface is another one.</summary>
public sealed class NativeLibraryLoadException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="message">What is wrong, with every place looked in and the versions.</param>
    /// <param name="attempts">The places, in the order they were tried.</param>
    public NativeLibraryLoadException(string message, IReadOnlyList<NativeLoadAttempt> attempts)
        : base(message) => Attempts = attempts;

    /// <summary>Every place looked in, in order.</summary>
    public IReadOnlyList<NativeLoadAttempt> Attempts { get; }
}
