// Ends tasks when events of GPUs are reached, on one thread for the whole process. Used by CudaEvent and CudaStream.
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>
/// Asks the driver for all events that are waited for, in turn. A host function of the driver would be told sooner, but
/// is never called after a fault, and a wait must end then too.
/// </summary>
internal static unsafe class EventWaiter
{
    private const int SpinningRounds = 50;
    private static readonly object Gate = new();
    private static readonly List<Wait> Added = [];
    private static bool _isRunning;

    /// <summary>A task that ends when the event is reached. The caller holds the event until this returns.</summary>
    internal static Task WaitAsync(EventHandle mark, CancellationToken cancellationToken)
    {
        var wait = new Wait(mark, cancellationToken);
        lock (Gate)
        {
            Added.Add(wait);
            if (!_isRunning)
            {
                _isRunning = true;
                new Thread(Run) { IsBackground = true, Name = "FusedAttention event waits" }.UnsafeStart();
            }
        }

        return wait.Task;
    }

    // The thread ends when nobody waits; a program that waits now and then starts a short-lived one each time.
    private static void Run()
    {
        var waits = new List<Wait>();
        int idleRounds = 0;
        while (true)
        {
            lock (Gate)
            {
                waits.AddRange(Added);
                Added.Clear();
                if (waits.Count == 0)
                {
                    _isRunning = false;
                    return;
                }
            }

            idleRounds = waits.RemoveAll(static wait => wait.TryEnd()) > 0 ? 0 : idleRounds + 1;
            if (idleRounds > SpinningRounds)
            {
                Thread.Sleep(1);
            }
            else
            {
                Thread.Yield();
            }
        }
    }

    private sealed class Wait
    {
        private readonly EventHandle _mark;
        private readonly CancellationToken _cancellationToken;
        private readonly TaskCompletionSource _source = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal Wait(EventHandle mark, CancellationToken cancellationToken)
        {
            bool isHeld = false;
            mark.DangerousAddRef(ref isHeld);
            _mark = mark;
            _cancellationToken = cancellationToken;
        }

        internal Task Task => _source.Task;

        internal bool TryEnd()
        {
            int done = 0;
            fattn_status status = NativeMethods.fattn_event_query(_mark.Pointer, &done);
            if (status == fattn_status.FATTN_STATUS_OK && done == 0 && !_cancellationToken.IsCancellationRequested)
            {
                return false;
            }

            if (status != fattn_status.FATTN_STATUS_OK)
            {
                _source.SetException(
                    new AttentionException((AttentionStatus)status, "CudaEvent.WaitAsync", NativeCall.LastError()));
            }
            else if (done != 0)
            {
                _source.SetResult();
            }
            else
            {
                _source.SetCanceled(_cancellationToken);
            }

            _mark.DangerousRelease();
            return true;
        }
    }
}
