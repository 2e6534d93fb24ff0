// Knows the element type of a C# type. Used by TensorIn, TensorOut and the plans.
using System;
using System.Runtime.CompilerServices;

namespace FusedAttention.Internal;

/// <summary>The element type that <typeparamref name="T"/> stands for, found once per type.</summary>
internal static class ElementTypeOf<T>
    where T : unmanaged
{
    /// <summary>The element type, or <see cref="ElementType.None"/>.</summary>
    internal static readonly ElementType Value = Find();

    /// <summary>The element type of a query, key or value tensor.</summary>
    /// <exception cref="NotSupportedException">Attention does not compute in this type.</exception>
    internal static ElementType Float =>
        Value is ElementType.Float32 or ElementType.Float16 or ElementType.BFloat16
            ? Value
            : throw new NotSupportedException(
                $"Attention was asked for elements of type {typeof(T)}; allowed are float, System.Half, "
                + "FusedAttention.BFloat16 and System.Numerics.BFloat16.");

    // .NET 11 brings its own 16-bit type with the same bits; it is known by name, because this build cannot name it.
    private static ElementType Find()
    {
        if (typeof(T) == typeof(float))
        {
            return ElementType.Float32;
        }

        if (typeof(T) == typeof(Half))
        {
            return ElementType.Float16;
        }

        if (typeof(T) == typeof(int))
        {
            return ElementType.Int32;
        }

        if (typeof(T) == typeof(byte))
        {
            return ElementType.UInt8;
        }

        bool isBFloat16 = typeof(T) == typeof(BFloat16)
            || (typeof(T).FullName == "System.Numerics.BFloat16" && Unsafe.SizeOf<T>() == 2);
        return isBFloat16 ? ElementType.BFloat16 : ElementType.None;
    }
}
