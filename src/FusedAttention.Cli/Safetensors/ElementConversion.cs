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
                BFloat16.ToSingle(MemoryMarshal.Cast<byte, BFloat16>(bytes), to);

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
                ReadOnlySpan<BFloat16> brains = MemoryMarshal.Cast<byte, BFloat16>(bytes);
                for (int i = 0; i < brains.Length; ++i)
                {
                    to[i] = (Half)(float)brains[i];
                }

                break;
            default:
                throw NotAFloat(from);
        }
    }

    internal static void ToBFloat16(TensorDtype from, ReadOnlySpan<byte> bytes, Span<BFloat16> to)
    {
        switch (from)
        {
            case TensorDtype.BF16:
                MemoryMarshal.Cast<byte, BFloat16>(bytes).CopyTo(to);
                break;
            case TensorDtype.F64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(bytes);
                for (int i = 0; i < doubles.Length; ++i)
                {
                    to[i] = (BFloat16)doubles[i];
                }

                break;
            case TensorDtype.F32:
                BFloat16.FromSingle(MemoryMarshal.Cast<byte, float>(bytes), to);
                break;
            case TensorDtype.F16:
                ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (int i = 0; i < halves.Length; ++i)
                {
                    to[i] = (BFloat16)(float)halves[i];
                }

                break;
            default:
                throw NotAFloat(from);
        }
    }

    private static ArgumentOutOfRangeException NotAFloat(TensorDtype dtype) =>
        new(nameof(dtype), dtype, "expected a floating-point type");
}
