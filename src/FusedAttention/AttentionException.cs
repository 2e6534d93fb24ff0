// The one exception for failures of native calls. Thrown by NativeCall.
using System;

namespace FusedAttention;

/// <summary>A call into the native library failed.</summary>
public sealed class AttentionException : Exception
{
    /// <summary>Makes the exception for one failed call.</summary>
    /// <param name="status">Why it failed.</param>
    /// <param name="operation">What was asked, for example "DenseAttentionPlan.Forward".</param>
    /// <param name="nativeText">The sentence of the native library.</param>
    public AttentionException(AttentionStatus status, string operation, string nativeText)
        : base($"{operation}: {nativeText} ({status})")
    {
        Status = status;
        Operation = operation;
        NativeText = nativeText;
    }

    /// <summary>Why the call failed.</summary>
    public AttentionStatus Status { get; }

    /// <summary>What was asked.</summary>
    public string Operation { get; }

    /// <summary>The native library's own sentence: what was asked, what was found, what is allowed.</summary>
    public string NativeText { get; }

    /// <summary>All that the run-time compiler said of a program it refused, up to 64 KiB; else null.</summary>
    public string? CompilerLog { get; init; }
}
