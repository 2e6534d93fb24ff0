// Throws the exceptions of hot paths, so that these stay small. Used throughout the library.
using System;
using System.Diagnostics.CodeAnalysis;

namespace FusedAttention.Internal;

/// <summary>Every throw outside constructors and rare paths.</summary>
internal static class ThrowHelper
{
    [DoesNotReturn]
    internal static void Argument(string message, string parameter) => throw new ArgumentException(message, parameter);

    /// <summary>Throws unless a plan was made to run backward.</summary>
    internal static void RequireBackward(bool isPrepared, string operation)
    {
        if (!isPrepared)
        {
            throw new InvalidOperationException(
                $"{operation} was called on a plan made without {nameof(DenseOptions.Backward)}.");
        }
    }

    [DoesNotReturn]
    internal static void Disposed(string type) => throw new ObjectDisposedException(type);
}
