// Converts stored tensor elements to the types a call runs in; used by the tensor loader.
using System;
using System.Runtime.InteropServices;

namespace FusedAttention.Cli.Safetensors;

/// <summary>Every conversion rounds once, to nearest even, also from F64 to a 16-bit type.</summary>
internal static class ElementConversion
{
    internal static void ToSingle(TensorDtype from, ReadOnlySpan<byte> bytes, Span<float> to)
    {
        switch (from)
        {
            case TensorDtype.F32:
                MemoryMarshal.Cast<byte, float>(bytes).CopyTo(to);
                break;
            case TensorDtype.F64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(bytes);
                for (int i = 0; i < doubles.Length; ++i)
                {
                    to[i] = (float)doubles[i];
                }

                break;
            case TensorDtype.F16:
                ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (int i = 0; i < halves.Length; ++i)
                {
                    to[i] = (float)halves[i];
                }

                break;
            case TensorDtype.BF16:
                ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < bits.Length; ++i)
                {
                    to[i] = BFloat16BitsToSingle(bits[i]);
                }

                break;
            default:
                throw NotAFloat(from);
        }
    }

    internal static void ToHalf(TensorDtype from, ReadOnlySpan<byte> bytes, Span<Half> to)
    {
        switch (from)
        {
            case TensorDtype.F16:
                MemoryMarshal.Cast<byte, Half>(bytes).CopyTo(to);
                break;
            case TensorDtype.F64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(bytes);
                for (int i = 0; i < doubles.Length; ++i)
                {
                    to[i] = (Half)doubles[i];
                }

                break;
            case TensorDtype.F32:
                ReadOnlySpan<float> singles = MemoryMarshal.Cast<byte, float>(bytes);
                for (int i = 0; i < singles.Length; ++i)
                {
                    to[i] = (Half)singles[i];
                }

                break;
            case TensorDtype.BF16:
                ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < bits.Length; ++i)
                {
                    to[i] = (Half)BFloat16BitsToSingle(bits[i]);
                }

                break;
            default:
                throw NotAFloat(from);
        }
    }

    /// <summary>Gives the bit patterns of bfloat16 numbers.</summary>
    internal static void ToBFloat16Bits(TensorDtype from, ReadOnlySpan<byte> bytes, Span<ushort> to)
    {
        switch (from)
        {
            case TensorDtype.BF16:
                MemoryMarshal.Cast<byte, ushort>(bytes).CopyTo(to);
                break;
            case TensorDtype.F64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(bytes);
                for (int i = 0; i < doubles.Length; ++i)
                {
                    to[i] = SingleToBFloat16Bits(RoundToOdd(doubles[i]));
                }

                break;
            case TensorDtype.F32:
                ReadOnlySpan<float> singles = MemoryMarshal.Cast<byte, float>(bytes);
                for (int i = 0; i < singles.Length; ++i)
                {
                    to[i] = SingleToBFloat16Bits(singles[i]);
                }

                break;
            case TensorDtype.F16:
                ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (int i = 0; i < halves.Length; ++i)
                {
                    to[i] = SingleToBFloat16Bits((float)halves[i]);
                }

                break;
            default:
                throw NotAFloat(from);
        }
    }

    internal static float BFloat16BitsToSingle(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    internal static ushort SingleToBFloat16Bits(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
        {
            // Keeps sign and payload, and stays a NaN when the payload's upper bits are zero.
            return (ushort)((bits >> 16) | 0x40);
        }

        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    // An inexact result gets an odd last bit, so that rounding it once more gives what rounding the double would give.
    private static float RoundToOdd(double value)
    {
        float nearest = (float)value;
        if (!double.IsFinite(value) || nearest == value)
        {
            return nearest;
        }

        uint bits = BitConverter.SingleToUInt32Bits(nearest);
        if (Math.Abs((double)nearest) > Math.Abs(value))
        {
            --bits;
        }

        return BitConverter.UInt32BitsToSingle(bits | 1);
    }

    private static ArgumentOutOfRangeException NotAFloat(TensorDtype dtype) =>
        new(nameof(dtype), dtype, "expected a floating-point type");
}
