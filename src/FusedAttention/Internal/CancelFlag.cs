// A number in native memory that native code polls, set when a token is cancelled. Used by the plans.
using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Threading;

namespace FusedAttention.Internal;

/// <summary>A reusable cancel flag. Taken from a pool for one call and returned after it; the pool lives on.</summary>
[SuppressMessage("Design", "CA1001", Justification = "Flags are pooled for the life of the process.")]
internal sealed unsafe class CancelFlag
{
    private static readonly ConcurrentBag<CancelFlag> Pool = [];
    private readonly HostMemoryHandle _memory = new(sizeof(int));
    private CancellationTokenRegistration _registration;

    private CancelFlag()
    {
    }

    /// <summary>Where native code reads the flag.</summary>
    internal int* Pointer => (int*)_memory.Pointer;

    /// <summary>A cleared flag that the token will set.</summary>
    internal static CancelFlag Rent(CancellationToken cancellationToken)
    {
        if (!Pool.TryTake(out CancelFlag? flag))
        {
            flag = new CancelFlag();
        }

        Volatile.Write(ref *flag.Pointer, 0);
        flag._registration = cancellationToken.UnsafeRegister(
            static state => Volatile.Write(ref *((CancelFlag)state!).Pointer, 1), flag);
        return flag;
    }

    /// <summary>Ends the registration, waiting for a callback under way, and gives the flag back.</summary>
    internal void Return()
    {
        _registration.Dispose();
        _registration = default;
        Pool.Add(this);
    }
}
