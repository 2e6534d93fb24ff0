// The pages of a cache in memory of a GPU. Made by S2KeyValueCache and DenseKeyValueCache for a CudaDevice.
using System;
using System.Threading;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>
/// Pages, block table and lengths in device memory. Which page holds what is decided on the host and queued before the
/// work that needs it; one event makes every operation wait for the one before, whatever their streams.
/// </summary>
internal sealed unsafe class DevicePageMemory<T> : PageMemory<T>
    where T : unmanaged
{
    private readonly DeviceBuffer<T> _keys;
    private readonly DeviceBuffer<T> _values;
    private readonly DeviceBuffer<int> _table;
    private readonly DeviceBuffer<int> _lengths;
    private readonly DeviceBuffer<byte> _workspace;
    private readonly CudaStream _stream; // of calls with spans
    private readonly CudaEvent _last;
    private readonly UploadRing _uploads;
    private DeviceBuffer<T>? _newKeys;
    private DeviceBuffer<T>? _newValues;
    private DeviceBuffer<int>? _slots;
    private long _uploadedTable = -1;
    private long _uploadedLengths = -1;

    internal DevicePageMemory(string owner, AttentionShape shape, DenseAttentionPlan<T> plan, CudaDevice device)
        : base(owner, shape, plan)
    {
        Device = device;
        try
        {
            _keys = device.Allocate<T>(KeyElements);
            _values = device.Allocate<T>(ValueElements);
            _table = device.Allocate<int>(checked(plan.Shape.Batch * plan.Options.Paging!.MaxPagesPerSequence));
            _lengths = device.Allocate<int>(plan.Shape.Batch);
            _workspace = device.Allocate<byte>((long)plan.GetDeviceWorkspaceBytes(AttentionPass.Forward));
            _uploads = new UploadRing(device);
            _stream = device.CreateStream();
            _last = device.CreateEvent();
            _last.Record(_stream);
        }
        catch
        {
            Free();
            throw;
        }
    }

    internal CudaDevice Device { get; }

    internal override void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value, in NewTokens tokens)
    {
        Reserve(ref _newKeys, key.Length);
        Reserve(ref _newValues, value.Length);
        fixed (T* keys = key, values = value)
        {
            Copy(keys, _newKeys!, key.Length);
            Copy(values, _newValues!, value.Length);
            _stream.Synchronize();
        }

        Append(_newKeys!, _newValues!, tokens, _stream);
    }

    /// <summary>Queues taking tokens of device memory to their slots.</summary>
    internal void Append(
        in DeviceTensor<T> key, in DeviceTensor<T> value, in NewTokens tokens, CudaStream stream)
    {
        Reserve(ref _slots, tokens.Slots.Length);
        stream.Wait(_last);
        _uploads.Upload(tokens.Slots, _slots!, stream);
        using HandleScope owners = default;
        owners.Add(key.Owner);
        owners.Add(value.Owner);
        owners.Add(_keys.Owner);
        owners.Add(_values.Owner);
        Append(
            (void*)key.Address, (void*)value.Address, (void*)_keys.Pointer, (void*)_values.Pointer, tokens,
            (int*)_slots!.Pointer, stream);
        _last.Record(stream);
    }

    internal override void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse, in PageState state,
        CancellationToken cancellationToken)
    {
        _stream.Wait(_last);
        UploadState(in state, _stream);
        _last.Record(_stream);
        Plan.ForwardOverPages(query, output, lse, Arguments(), _last, cancellationToken);
    }

    /// <summary>Queues decoding what the sequences see.</summary>
    internal void Decode(
        in DeviceTensor<T> query, in DeviceTensor<T> output, in DeviceTensor<float> lse, in PageState state,
        CudaStream stream)
    {
        stream.Wait(_last);
        UploadState(in state, stream);
        DenseDeviceForwardArguments<T> arguments = Arguments();
        arguments.Query = query;
        arguments.Output = output;
        arguments.Lse = lse;
        arguments.Workspace = _workspace;
        Plan.Forward(in arguments, stream);
        _last.Record(stream);
    }

    public override void Dispose()
    {
        base.Dispose();
        Free();
    }

    /// <summary>Another call after all tokens were forgotten must not find what was there before.</summary>
    private void UploadState(in PageState state, CudaStream stream)
    {
        if (_uploadedTable == state.TableVersion && _uploadedLengths == state.LengthsVersion)
        {
            return;
        }

        if (_uploadedTable != state.TableVersion)
        {
            _uploads.Upload(state.Table, _table, stream);
        }

        _uploads.Upload(state.Lengths, _lengths, stream);
        (_uploadedTable, _uploadedLengths) = (state.TableVersion, state.LengthsVersion);
    }

    private DenseDeviceForwardArguments<T> Arguments() => new()
    {
        Key = _keys,
        Value = _values,
        KeyLengths = _lengths,
        BlockTable = _table,
    };

    private void Copy(T* from, DeviceBuffer<T> to, long length)
    {
        using HandleScope scope = default;
        scope.Add(to.Owner);
        scope.Add(_stream.Handle);
        NativeCall.Check(
            NativeMethods.fattn_stream_copy(
                _stream.Handle.Pointer, fattn_copy.FATTN_COPY_TO_DEVICE, (void*)to.Pointer, from,
                (ulong)(length * sizeof(T))),
            AppendName);
    }

    // Freeing memory waits for the work that uses it.
    private void Reserve<TElement>(ref DeviceBuffer<TElement>? buffer, long length)
        where TElement : unmanaged
    {
        if (buffer is null || buffer.Length < length)
        {
            buffer?.Dispose();
            buffer = null;
            buffer = Device.Allocate<TElement>(length);
        }
    }

    private void Free()
    {
        _keys?.Dispose();
        _values?.Dispose();
        _table?.Dispose();
        _lengths?.Dispose();
        _workspace?.Dispose();
        _newKeys?.Dispose();
        _newValues?.Dispose();
        _slots?.Dispose();
        _uploads?.Dispose();
        _last?.Dispose();
        _stream?.Dispose();
    }
}
