// A tensor that an operation writes. Made by implicit conversion from whatever the caller has.
using System;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>
/// Memory that an operation writes: an array, a span, a tensor span, or a <see cref="HostTensor{T}"/>.
/// </summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>
/// The rules of <see cref="TensorIn{T}"/> apply. Outputs are overwritten and must not overlap each other or an input.
/// The default value means "not wanted".
/// </remarks>
public readonly ref struct TensorOut<T>
    where T : unmanaged
{
    internal readonly ref byte Data;
    internal readonly long Length;
    internal readonly SafeHandle? Owner;
    internal readonly ElementType Element;
    internal readonly TensorDims Dims;

    internal TensorOut(ref byte data, long length, ElementType element, SafeHandle? owner,
        scoped in TensorDims dims)
    {
        Data = ref data;
        Length = length;
        Element = element;
        Owner = owner;
        Dims = dims;
    }

    private TensorOut(ref T data, long length)
    {
        Data = ref Unsafe.As<T, byte>(ref data);
        Length = length;
        Element = ElementTypeOf<T>.Value;
    }

    /// <summary>True when nothing was given.</summary>
    public bool IsDefault => Length == 0 && Unsafe.IsNullRef(in Data);

    /// <summary>The elements of an array; null gives the default value.</summary>
    /// <param name="array">The array.</param>
    public static implicit operator TensorOut<T>(T[]? array) =>
        array is null ? default : new(ref MemoryMarshal.GetArrayDataReference(array), array.Length);

    /// <summary>The elements of a span.</summary>
    /// <param name="span">The span.</param>
    public static implicit operator TensorOut<T>(Span<T> span) =>
        new(ref MemoryMarshal.GetReference(span), span.Length);

    /// <summary>A tensor with its extents and strides.</summary>
    /// <param name="tensor">The tensor, of rank 1 to 4.</param>
    /// <exception cref="ArgumentException">The rank is above 4.</exception>
    public static implicit operator TensorOut<T>(in TensorSpan<T> tensor)
    {
        ref T data = ref TensorMarshal.GetReference(in tensor);
        return new(
            ref Unsafe.As<T, byte>(ref data), tensor.FlattenedLength, ElementTypeOf<T>.Value, null,
            new TensorDims(tensor.Lengths, tensor.Strides));
    }

    /// <summary>A tensor in native memory with its extents and strides; null gives the default value.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <exception cref="ObjectDisposedException">The tensor's memory was disposed.</exception>
    public static implicit operator TensorOut<T>(HostTensor<T>? tensor) => tensor is null ? default : tensor.AsOutput();

    /// <summary>The elements of native memory; null gives the default value.</summary>
    /// <param name="buffer">The buffer.</param>
    /// <exception cref="ObjectDisposedException">The memory was disposed.</exception>
    public static implicit operator TensorOut<T>(HostBuffer<T>? buffer) => buffer is null ? default : buffer.AsOutput();

    /// <summary>
    /// A <see cref="float"/> tensor in a place whose type is <typeparamref name="T"/>, for plans made with
    /// <see cref="DenseOptions.Float32Output"/> or <see cref="DenseOptions.Float32Gradients"/>.
    /// </summary>
    /// <param name="tensor">The tensor.</param>
    public static TensorOut<T> Float32(TensorOut<float> tensor) =>
        new(ref tensor.Data, tensor.Length, tensor.Element, tensor.Owner, in tensor.Dims);

    /// <summary>The first byte, for fixed statements; a null reference when nothing was given.</summary>
    internal ref byte GetPinnableReference() => ref Data;
}
