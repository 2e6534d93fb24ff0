// Small arrays of the host on their way to a GPU. Used by what queues work that depends on them.
using System;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>Pinned blocks, one after the other: an upload waits only for the one that many uploads ago.</summary>
internal sealed unsafe class UploadRing : IDisposable
{
    private const int Blocks = 8;
    private readonly CudaDevice _device;
    private readonly PinnedBuffer<int>?[] _memory = new PinnedBuffer<int>?[Blocks];
    private readonly CudaEvent?[] _marks = new CudaEvent?[Blocks];
    private int _next;

    internal UploadRing(CudaDevice device) => _device = device;

    /// <summary>Queues a copy; the source may change at once.</summary>
    internal void Upload(ReadOnlySpan<int> source, DeviceBuffer<int> target, CudaStream stream)
    {
        if (source.IsEmpty)
        {
            return;
        }

        int block = _next;
        _next = (_next + 1) % Blocks;
        CudaEvent mark = _marks[block] ??= _device.CreateEvent();
        mark.Synchronize();
        if (_memory[block] is null || _memory[block]!.Length < source.Length)
        {
            _memory[block]?.Dispose();
            _memory[block] = null;
            _memory[block] = _device.AllocatePinned<int>(source.Length);
        }

        PinnedBuffer<int> pinned = _memory[block]!;
        source.CopyTo(pinned.AsSpan());
        using HandleScope scope = default;
        scope.Add(target.Owner);
        scope.Add(pinned.Owner);
        scope.Add(stream.Handle);
        NativeCall.Check(
            NativeMethods.fattn_stream_copy(
                stream.Handle.Pointer, fattn_copy.FATTN_COPY_TO_DEVICE, (void*)target.Pointer, pinned.Pointer,
                (ulong)source.Length * sizeof(int)),
            "uploading");
        mark.Record(stream);
    }

    public void Dispose()
    {
        for (int block = 0; block < Blocks; ++block)
        {
            _memory[block]?.Dispose();
            _marks[block]?.Dispose();
        }
    }
}
