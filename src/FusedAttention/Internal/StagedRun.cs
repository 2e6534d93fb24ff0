// Takes the host tensors of one run to a GPU and its results back. Used by the plans when they are given spans.
using System;
using System.Numerics;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>
/// Pinned memory, device memory and a stream of their own. Tensors are announced, uploaded in one copy, and what is
/// written comes back, each result by itself; the memory stays for the next run.
/// </summary>
internal sealed unsafe class StagedRun : IDisposable
{
    private const int Capacity = 24;
    private const long Alignment = 256;
    private readonly CudaDevice _device;
    private readonly StagingPool _pool;
    private readonly CudaStream _stream;
    private readonly Entry[] _entries = new Entry[Capacity];
    private PinnedBuffer<byte>? _pinned;
    private DeviceBuffer<byte>? _memory;
    private int _count;
    private bool _isDone;

    internal StagedRun(CudaDevice device, StagingPool pool)
    {
        _device = device;
        _pool = pool;
        _stream = device.CreateStream();
    }

    // The order in memory: one copy takes the first two up.
    private enum Role
    {
        Input,
        Updated,
        Output,
    }

    /// <summary>Announces a tensor that the run reads; its place gets the address on the device. Null is none.</summary>
    internal void Input(void** place, long bytes) => Add(place, bytes, Role.Input);

    /// <summary>Announces a tensor that the run writes; one that is updated has its elements there before.</summary>
    internal void Output(void** place, long bytes, bool isUpdated) =>
        Add(place, bytes, isUpdated ? Role.Updated : Role.Output);

    /// <summary>Makes the run wait for what an event marks.</summary>
    internal void Wait(CudaEvent mark) => _stream.Wait(mark);

    /// <summary>Queues the upload, and says how the run is carried out.</summary>
    internal fattn_run Upload(ulong workspaceBytes)
    {
        long inputs = Place(Role.Input, 0);
        long uploaded = Place(Role.Updated, inputs);
        long total = Place(Role.Output, uploaded);
        Reserve(total, total + (long)workspaceBytes);

        // Who resets the device's context frees the pinned memory with it; the stream knows, before it is touched.
        _ = _stream.IsDone;
        for (int i = 0; i < _count; ++i)
        {
            ref Entry entry = ref _entries[i];
            *entry.Place = (void*)(_memory!.Pointer + (nint)entry.Offset);
            if (entry.Role != Role.Output)
            {
                Buffer.MemoryCopy(entry.Host, _pinned!.Pointer + entry.Offset, entry.Bytes, entry.Bytes);
            }
        }

        Copy(fattn_copy.FATTN_COPY_TO_DEVICE, 0, uploaded);
        fattn_run run = default;
        run.struct_size = (uint)sizeof(fattn_run);
        run.stream = (void*)_stream.Native;
        run.workspace = workspaceBytes == 0 ? null : (void*)(_memory!.Pointer + (nint)total);
        run.workspace_bytes = workspaceBytes;
        return run;
    }

    /// <summary>Waits for the run and copies its results to where they belong.</summary>
    internal void Download()
    {
        for (int i = 0; i < _count; ++i)
        {
            ref Entry entry = ref _entries[i];
            if (entry.Role != Role.Input)
            {
                Copy(fattn_copy.FATTN_COPY_TO_HOST, entry.Offset, entry.Bytes);
            }
        }

        _stream.Synchronize();
        _isDone = true;
        for (int i = 0; i < _count; ++i)
        {
            ref Entry entry = ref _entries[i];
            if (entry.Role != Role.Input)
            {
                Buffer.MemoryCopy(_pinned!.Pointer + entry.Offset, entry.Host, entry.Bytes, entry.Bytes);
            }
        }
    }

    /// <summary>Gives the memory back for the next run, or frees it where the run did not end well.</summary>
    public void Dispose()
    {
        bool isReusable = _isDone;
        _count = 0;
        _isDone = false;
        if (isReusable)
        {
            _pool.Return(this);
        }
        else
        {
            Free();
        }
    }

    /// <summary>Frees everything once the work in the stream is done.</summary>
    internal void Free()
    {
        _memory?.Dispose();
        _pinned?.Dispose();
        _stream.Dispose();
    }

    private void Add(void** place, long bytes, Role role)
    {
        if (*place is null || bytes == 0)
        {
            return;
        }

        _entries[_count++] = new Entry { Place = place, Host = *place, Bytes = bytes, Role = role };
    }

    // Where the tensors of one role lie, one after the other from an offset on; their end.
    private long Place(Role role, long offset)
    {
        for (int i = 0; i < _count; ++i)
        {
            ref Entry entry = ref _entries[i];
            if (entry.Role == role)
            {
                entry.Offset = offset;
                offset += (entry.Bytes + Alignment - 1) / Alignment * Alignment;
            }
        }

        return offset;
    }

    private void Reserve(long hostBytes, long deviceBytes)
    {
        if (_pinned is null || _pinned.Length < hostBytes)
        {
            _pinned?.Dispose();
            _pinned = null;
            _pinned = _device.AllocatePinned<byte>(RoundUp(hostBytes));
        }

        if (_memory is null || _memory.Length < deviceBytes)
        {
            _memory?.Dispose();
            _memory = null;
            _memory = _device.Allocate<byte>(RoundUp(deviceBytes));
        }
    }

    // Problems that grow a little each time do not allocate each time.
    private static long RoundUp(long bytes) =>
        bytes < 1 << 28 ? (long)BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bytes, 4096)) : bytes;

    private void Copy(fattn_copy kind, long offset, long bytes)
    {
        if (bytes == 0)
        {
            return;
        }

        using HandleScope scope = default;
        scope.Add(_stream.Handle);
        void* host = _pinned!.Pointer + offset;
        void* device = (void*)(_memory!.Pointer + (nint)offset);
        bool isUpload = kind == fattn_copy.FATTN_COPY_TO_DEVICE;
        NativeCall.Check(
            NativeMethods.fattn_stream_copy(
                _stream.Handle.Pointer, kind, isUpload ? device : host, isUpload ? host : device, (ulong)bytes),
            "staging");
    }

    private struct Entry
    {
        internal void** Place;
        internal void* Host;
        internal long Bytes;
        internal long Offset;
        internal Role Role;
    }
}
