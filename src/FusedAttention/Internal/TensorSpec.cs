// What a plan expects of one tensor. Made with the plan, compared with what each run brings.
using System;
using System.Diagnostics.CodeAnalysis;

namespace FusedAttention.Internal;

/// <summary>Name, element type, extents and strides of one tensor of a plan, in the order of its layout.</summary>
internal sealed class TensorSpec
{
    private readonly string _name;
    private readonly ElementType _element;
    private readonly long[] _lengths;
    private readonly long[] _strides;
    private readonly long _needed;
    private readonly bool _isContiguous;

    /// <param name="name">Name of the argument.</param>
    /// <param name="element">Type of the elements.</param>
    /// <param name="lengths">Extents.</param>
    /// <param name="strides">Strides, or none for a contiguous tensor.</param>
    /// <param name="elementsPerByte">8 for a mask of bits; such a mask is counted in bytes.</param>
    internal TensorSpec(
        string name, ElementType element, long[] lengths, long[]? strides = null, int elementsPerByte = 1)
    {
        _name = name;
        _element = element;
        _lengths = lengths;
        long[] contiguous = new long[lengths.Length];
        _ = TensorDims.FillContiguous(lengths, contiguous);
        _strides = strides ?? contiguous;
        _isContiguous = strides is null || strides.AsSpan().SequenceEqual(contiguous);
        _needed = (Span(_lengths, _strides) + elementsPerByte - 1) / elementsPerByte;
    }

    /// <summary>Bytes from the first to the last element.</summary>
    internal long Bytes => checked(_needed * _element switch
    {
        ElementType.Float32 or ElementType.Int32 => 4,
        ElementType.UInt8 => 1,
        _ => 2,
    });

    /// <summary>Whether nothing lies between the elements.</summary>
    internal bool IsContiguous => _isContiguous;

    /// <summary>Elements from the first to the last one of a tensor, ends included.</summary>
    internal static long Span(ReadOnlySpan<long> lengths, ReadOnlySpan<long> strides)
    {
        long last = 0;
        for (int i = 0; i < lengths.Length; ++i)
        {
            if (lengths[i] == 0)
            {
                return 0;
            }

            last = checked(last + ((lengths[i] - 1) * strides[i]));
        }

        return last + 1;
    }

    /// <summary>Throws unless the tensor is what the plan expects.</summary>
    internal void Check<T>(in TensorIn<T> tensor)
        where T : unmanaged => Check(tensor.Length, tensor.Element, in tensor.Dims);

    /// <summary>Throws unless the tensor is what the plan expects.</summary>
    internal void Check<T>(in TensorOut<T> tensor)
        where T : unmanaged => Check(tensor.Length, tensor.Element, in tensor.Dims);

    /// <summary>Throws unless the tensor, where one is given, is what the plan expects.</summary>
    internal void CheckIfGiven<T>(in TensorIn<T> tensor)
        where T : unmanaged
    {
        if (!tensor.IsDefault)
        {
            Check(in tensor);
        }
    }

    /// <summary>Throws unless the tensor, where one is given, is what the plan expects.</summary>
    internal void CheckIfGiven<T>(in TensorOut<T> tensor)
        where T : unmanaged
    {
        if (!tensor.IsDefault)
        {
            Check(in tensor);
        }
    }

    /// <summary>Throws unless the tensor is what the plan expects.</summary>
    internal void Check<T>(in DeviceTensor<T> tensor)
        where T : unmanaged => Check(tensor.Length, tensor.Element, default);

    /// <summary>Throws unless the tensor, where one is given, is what the plan expects.</summary>
    internal void CheckIfGiven<T>(in DeviceTensor<T> tensor)
        where T : unmanaged
    {
        if (!tensor.IsDefault)
        {
            Check(in tensor);
        }
    }

    /// <summary>Throws unless a tensor is right, or absent where no option announces it.</summary>
    internal static void CheckAnnounced<T>(TensorSpec? spec, in DeviceTensor<T> tensor, string name, string option)
        where T : unmanaged
    {
        if (spec is not null)
        {
            spec.Check(in tensor);
        }
        else if (!tensor.IsDefault)
        {
            ThrowUnannounced(name, option);
        }
    }

    /// <summary>The same of a result, which may be left out.</summary>
    internal static void CheckAnnouncedIfGiven<T>(
        TensorSpec? spec, in DeviceTensor<T> tensor, string name, string option)
        where T : unmanaged
    {
        if (spec is not null)
        {
            spec.CheckIfGiven(in tensor);
        }
        else if (!tensor.IsDefault)
        {
            ThrowUnannounced(name, option);
        }
    }

    /// <summary>Throws unless a tensor is right, or absent where no option announces it.</summary>
    /// <param name="spec">Null when no option announces it.</param>
    /// <param name="tensor">The tensor.</param>
    /// <param name="name">Its name.</param>
    /// <param name="option">The option that would announce it.</param>
    internal static void CheckAnnounced<T>(TensorSpec? spec, in TensorIn<T> tensor, string name, string option)
        where T : unmanaged
    {
        if (spec is not null)
        {
            spec.Check(in tensor);
        }
        else if (!tensor.IsDefault)
        {
            ThrowUnannounced(name, option);
        }
    }

    /// <summary>The same of a result, which may be left out.</summary>
    internal static void CheckAnnouncedIfGiven<T>(TensorSpec? spec, in TensorOut<T> tensor, string name, string option)
        where T : unmanaged
    {
        if (spec is not null)
        {
            spec.CheckIfGiven(in tensor);
        }
        else if (!tensor.IsDefault)
        {
            ThrowUnannounced(name, option);
        }
    }

    /// <summary>Throws unless the number of elements is what the plan expects.</summary>
    internal void CheckLength(long length)
    {
        if (_isContiguous ? length != _needed : length < _needed)
        {
            ThrowLength(length);
        }
    }

    /// <summary>Throws because a tensor was given that the plan did not announce.</summary>
    [DoesNotReturn]
    internal static void ThrowUnannounced(string name, string option) =>
        ThrowHelper.Argument($"{name} was given, but the plan was made without {option}.", name);

    private void Check(long length, ElementType element, in TensorDims dims)
    {
        if (element != _element && !(length == 0 && _needed == 0))
        {
            ThrowElement(element, length);
        }

        if (dims.Rank == 0)
        {
            CheckLength(length);
        }
        else
        {
            CheckDims(in dims);
        }
    }

    // Where an extent is 1 or the tensor is empty, no step is ever taken and the stride says nothing.
    private void CheckDims(in TensorDims dims)
    {
        ReadOnlySpan<long> lengths = dims.Lengths;
        ReadOnlySpan<long> strides = dims.Strides;
        bool isEqual = dims.Rank == _lengths.Length;
        for (int i = 0; isEqual && i < _lengths.Length; ++i)
        {
            isEqual = lengths[i] == _lengths[i] && (_lengths[i] == 1 || _needed == 0 || strides[i] == _strides[i]);
        }

        if (!isEqual)
        {
            ThrowHelper.Argument(
                $"{_name} has extents {TensorDims.Format(lengths[..dims.Rank])} and strides "
                + $"{TensorDims.Format(strides[..dims.Rank])}; the plan expects {TensorDims.Format(_lengths)} and "
                + $"{TensorDims.Format(_strides)}.",
                _name);
        }
    }

    private void ThrowLength(long length) => ThrowHelper.Argument(
        $"{_name} has {length} elements; the plan expects {(_isContiguous ? "" : "at least ")}{_needed} for extents "
        + $"{TensorDims.Format(_lengths)} with strides {TensorDims.Format(_strides)}.",
        _name);

    private void ThrowElement(ElementType element, long length) => ThrowHelper.Argument(
        length == 0 ? $"{_name} was not given; the plan expects extents {TensorDims.Format(_lengths)}."
        : $"{_name} has elements of type {element}; the plan expects {_element}.",
        _name);
}
