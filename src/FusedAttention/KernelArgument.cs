// The value of one parameter of a kernel. Made by implicit conversion, given to CompiledKernel.
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace FusedAttention;

/// <summary>One argument of a launch: a number, a struct, or the address of device memory.</summary>
/// <remarks>A launch holds the buffers among its arguments until it is queued.</remarks>
public readonly struct KernelArgument
{
    internal readonly SafeHandle? Owner;
    internal readonly byte[]? Bytes;
    internal readonly ulong Bits;
    internal readonly int Size;

    private KernelArgument(ulong bits, int size, SafeHandle? owner)
    {
        Bits = bits;
        Size = size;
        Owner = owner;
    }

    private KernelArgument(byte[] bytes)
    {
        Bytes = bytes;
        Size = bytes.Length;
    }

    /// <summary>A 32-bit integer.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(int value) => Of(value);

    /// <summary>A 32-bit integer without sign.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(uint value) => Of(value);

    /// <summary>A 64-bit integer.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(long value) => Of(value);

    /// <summary>A 64-bit integer without sign.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(ulong value) => Of(value);

    /// <summary>A float.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(float value) => Of(value);

    /// <summary>A double.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(double value) => Of(value);

    /// <summary>A value of any type without references, laid out as the kernel's parameter.</summary>
    /// <typeparam name="T">Its type.</typeparam>
    /// <param name="value">The value; more than 8 bytes are copied to the managed heap.</param>
    /// <returns>The argument.</returns>
    public static unsafe KernelArgument Of<T>(T value)
        where T : unmanaged
    {
        if (sizeof(T) > sizeof(ulong))
        {
            return new KernelArgument(new ReadOnlySpan<byte>(&value, sizeof(T)).ToArray());
        }

        ulong bits = 0;
        Unsafe.WriteUnaligned(&bits, value);
        return new KernelArgument(bits, sizeof(T), null);
    }

    /// <summary>The address of device memory.</summary>
    /// <typeparam name="T">Type of its elements.</typeparam>
    /// <param name="tensor">The memory; default gives a null pointer.</param>
    /// <returns>The argument.</returns>
    public static unsafe KernelArgument Of<T>(DeviceTensor<T> tensor)
        where T : unmanaged => new((ulong)tensor.Address, sizeof(nint), tensor.Owner);
}
