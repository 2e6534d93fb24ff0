// Turns native statuses and texts into exceptions and strings. Called after every native call.
using System;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>What follows a native call.</summary>
internal static unsafe class NativeCall
{
    /// <summary>Throws unless the status is OK. Must run on the thread that made the call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Check(fattn_status status, string operation, CancellationToken cancellationToken = default)
    {
        if (status != fattn_status.FATTN_STATUS_OK)
        {
            Throw(status, operation, cancellationToken);
        }
    }

    /// <summary>The calling thread's last native error text.</summary>
    internal static string LastError() => Marshal.PtrToStringUTF8((nint)NativeMethods.fattn_last_error()) ?? "";

    /// <summary>Text of a fixed buffer that a zero byte ends.</summary>
    internal static string Text(byte* buffer, int length)
    {
        var bytes = new ReadOnlySpan<byte>(buffer, length);
        int end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }

    [DoesNotReturn]
    private static void Throw(fattn_status status, string operation, CancellationToken cancellationToken)
    {
        if (status == fattn_status.FATTN_STATUS_CANCELLED && cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(
                $"{operation} was cancelled; its outputs are undefined.", cancellationToken);
        }

        string text = LastError();
        if (text.Length == 0)
        {
            text = Marshal.PtrToStringUTF8((nint)NativeMethods.fattn_status_name(status)) ?? "";
        }

        throw new AttentionException((AttentionStatus)status, operation, text);
    }
}
