// A tensor in device memory as a run takes it. Made by implicit conversion from DeviceBuffer.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>Elements in memory of a GPU: a <see cref="DeviceBuffer{T}"/> or a part of one.</summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>
/// It has no shape: it holds exactly what the plan's shape says (a view with strides: at least up to its last element),
/// and begins at a multiple of 16 bytes. A run holds the memory until it is queued, and freeing waits for queued work.
/// The default value means "not given".
/// </remarks>
public readonly struct DeviceTensor<T>
    where T : unmanaged
{
    internal readonly SafeHandle? Owner;
    internal readonly nint Address;
    internal readonly ElementType Element;

    private DeviceTensor(SafeHandle? owner, nint address, long length, ElementType element)
    {
        Owner = owner;
        Address = address;
        Length = length;
        Element = element;
    }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>True when nothing was given.</summary>
    public bool IsDefault => Owner is null;

    /// <summary>All elements of a buffer; null gives the default value.</summary>
    /// <param name="buffer">The buffer.</param>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public static implicit operator DeviceTensor<T>(DeviceBuffer<T>? buffer) => buffer is null
        ? default
        : new DeviceTensor<T>(buffer.Owner, buffer.Pointer, buffer.Length, ElementTypeOf<T>.Value);

    /// <summary>The address of the elements, as an argument of a kernel.</summary>
    /// <param name="tensor">The tensor; default gives a null pointer.</param>
    public static implicit operator KernelArgument(DeviceTensor<T> tensor) => KernelArgument.Of(tensor);

    /// <summary>
    /// A <see cref="float"/> tensor in a place whose type is <typeparamref name="T"/>: an f32 bias, or the f32 results
    /// of a plan made with <see cref="DenseOptions.Float32Output"/> or <see cref="DenseOptions.Float32Gradients"/>.
    /// </summary>
    /// <param name="tensor">The tensor.</param>
    /// <returns>The same memory.</returns>
    public static DeviceTensor<T> Float32(DeviceTensor<float> tensor) =>
        new(tensor.Owner, tensor.Address, tensor.Length, tensor.Element);

    /// <summary>Part of the elements.</summary>
    /// <param name="start">First element.</param>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the tensor.</exception>
    /// <returns>The part.</returns>
    public unsafe DeviceTensor<T> Slice(long start, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start, Length - length);
        nint bytes = (nint)start * (Element == ElementType.Float32 ? sizeof(float) : sizeof(T));
        return new DeviceTensor<T>(Owner, Address + bytes, length, Element);
    }
}
