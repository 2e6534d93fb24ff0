// The settings of one run: threads and cancellation. Used by the plans and by AttentionMerge.
using System.Threading;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>Holds a cancel flag for the length of one call when the token can be cancelled.</summary>
internal readonly unsafe ref struct RunScope
{
    private readonly CancelFlag? _flag;
    private readonly int _maxThreads;

    /// <exception cref="System.OperationCanceledException">The token is cancelled already.</exception>
    internal RunScope(int maxThreads, CancellationToken cancellationToken)
    {
        _maxThreads = maxThreads;
        if (cancellationToken.CanBeCanceled)
        {
            cancellationToken.ThrowIfCancellationRequested();
            _flag = CancelFlag.Rent(cancellationToken);
        }
    }

    /// <summary>The same in the native library's words; valid until the scope is disposed.</summary>
    internal fattn_run Settings
    {
        get
        {
            fattn_run run = default;
            run.struct_size = (uint)sizeof(fattn_run);
            run.max_threads = _maxThreads;
            run.cancel = _flag is null ? null : _flag.Pointer;
            return run;
        }
    }

    /// <summary>Gives the flag back.</summary>
    public void Dispose() => _flag?.Return();
}
