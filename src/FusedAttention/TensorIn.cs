// A tensor that an operation reads. Made by implicit conversion from whatever the caller has.
using System;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>
/// Memory that an operation reads: an array, a span, a tensor span, or a <see cref="HostTensor{T}"/>.
/// </summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>
/// Arrays and spans have no shape: they hold exactly what the plan's shape says (a view with strides: at least up to
/// its last element). Tensors with a shape must have the plan's extents, in the order of its layout, and the plan's
/// strides. The default value means "not given".
/// </remarks>
public readonly ref struct TensorIn<T>
    where T : unmanaged
{
    internal readonly ref readonly byte Data;
    internal readonly long Length;
    internal readonly SafeHandle? Owner;
    internal readonly ElementType Element;
    internal readonly TensorDims Dims;

    internal TensorIn(
        ref readonly byte data, long length, ElementType element, SafeHandle? owner, scoped in TensorDims dims)
    {
        Data = ref data;
        Length = length;
        Element = element;
        Owner = owner;
        Dims = dims;
    }

    private TensorIn(ref readonly T data, long length)
    {
        Data = ref Unsafe.As<T, byte>(ref Unsafe.AsRef(in data));
        Length = length;
        Element = ElementTypeOf<T>.Value;
    }

    /// <summary>True when nothing was given.</summary>
    public bool IsDefault => Length == 0 && Unsafe.IsNullRef(in Data);

    /// <summary>The elements of an array; null gives the default value.</summary>
    /// <param name="array">The array.</param>
    public static implicit operator TensorIn<T>(T[]? array) =>
        array is null ? default : new(in MemoryMarshal.GetArrayDataReference(array), array.Length);

    /// <summary>The elements of a span.</summary>
    /// <param name="span">The span.</param>
    public static implicit operator TensorIn<T>(ReadOnlySpan<T> span) =>
        new(in MemoryMarshal.GetReference(span), span.Length);

    /// <summary>The elements of a span.</summary>
    /// <param name="span">The span.</param>
    public static implicit operator TensorIn<T>(Span<T> span) =>
        new(in MemoryMarshal.GetReference(span), span.Length);

    /// <summary>A tensor with its extents and strides.</summary>
    /// <param name="tensor">The tensor, of rank 1 to 4.</param>
    /// <exception cref="ArgumentException">The rank is above 4.</exception>
    public static implicit operator TensorIn<T>(in ReadOnlyTensorSpan<T> tensor)
    {
        ref readonly T data = ref TensorMarshal.GetReference(in tensor);
        return new(
            in Unsafe.As<T, byte>(ref Unsafe.AsRef(in data)), tensor.FlattenedLength, ElementTypeOf<T>.Value, null,
            new TensorDims(tensor.Lengths, tensor.Strides));
    }

    /// <summary>A tensor with its extents and strides.</summary>
    /// <param name="tensor">The tensor, of rank 1 to 4.</param>
    /// <exception cref="ArgumentException">The rank is above 4.</exception>
    public static implicit operator TensorIn<T>(in TensorSpan<T> tensor)
    {
        ref T data = ref TensorMarshal.GetReference(in tensor);
        return new(
            in Unsafe.As<T, byte>(ref data), tensor.FlattenedLength, ElementTypeOf<T>.Value, null,
            new TensorDims(tensor.Lengths, tensor.Strides));
    }

    /// <summary>A tensor in native memory with its extents and strides; null gives the default value.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <exception cref="ObjectDisposedException">The tensor's memory was disposed.</exception>
    public static implicit operator TensorIn<T>(HostTensor<T>? tensor) => tensor is null ? default : tensor.AsInput();

    /// <summary>The elements of native memory; null gives the default value.</summary>
    /// <param name="buffer">The buffer.</param>
    /// <exception cref="ObjectDisposedException">The memory was disposed.</exception>
    public static implicit operator TensorIn<T>(HostBuffer<T>? buffer) => buffer is null ? default : buffer.AsInput();

    /// <summary>An output as an input of the next operation.</summary>
    /// <param name="tensor">The tensor.</param>
    public static implicit operator TensorIn<T>(in TensorOut<T> tensor) =>
        new(in tensor.Data, tensor.Length, tensor.Element, tensor.Owner, in tensor.Dims);

    /// <summary>
    /// A <see cref="float"/> tensor in a place whose type is <typeparamref name="T"/>: an f32 bias, or the f32 output
    /// of a plan made with <see cref="DenseOptions.Float32Output"/>.
    /// </summary>
    /// <param name="tensor">The tensor.</param>
    public static TensorIn<T> Float32(TensorIn<float> tensor) =>
        new(in tensor.Data, tensor.Length, tensor.Element, tensor.Owner, in tensor.Dims);

    /// <summary>The first byte, for fixed statements; a null reference when nothing was given.</summary>
    internal ref readonly byte GetPinnableReference() => ref Data;
}
