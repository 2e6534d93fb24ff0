// The 16-bit brain floating-point type. Used as the element type of tensors.
using System;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace FusedAttention;

/// <summary>
/// A bfloat16 number: sign, 8 exponent bits and 7 fraction bits, the upper half of a <see cref="float"/>.
/// </summary>
/// <remarks>
/// A storage type: convert to <see cref="float"/> to calculate. Memory that holds the bits as <see cref="ushort"/> is
/// read as this type by <see cref="System.Runtime.InteropServices.MemoryMarshal.Cast{TFrom, TTo}(Span{TFrom})"/>, and
/// the other way round, without a copy. Plans accept System.Numerics.BFloat16 of newer runtimes in its place.
/// </remarks>
public readonly struct BFloat16 : IEquatable<BFloat16>, IComparable<BFloat16>, IFormattable
{
    private const int DroppedBits = 16;
    private const ushort QuietBit = 0x0040;
    private readonly ushort _bits;

    private BFloat16(ushort bits) => _bits = bits;

    /// <summary>The largest finite number, about 3.39e38.</summary>
    public static BFloat16 MaxValue => new(0x7F7F);

    /// <summary>The smallest finite number, about -3.39e38.</summary>
    public static BFloat16 MinValue => new(0xFF7F);

    /// <summary>The smallest positive number, a subnormal.</summary>
    public static BFloat16 Epsilon => new(0x0001);

    /// <summary>Positive infinity.</summary>
    public static BFloat16 PositiveInfinity => new(0x7F80);

    /// <summary>Negative infinity.</summary>
    public static BFloat16 NegativeInfinity => new(0xFF80);

    /// <summary>A quiet NaN.</summary>
    public static BFloat16 NaN => new(0x7FC0);

    /// <summary>The number with these bits.</summary>
    /// <param name="bits">Sign, exponent, fraction, from the most significant bit down.</param>
    public static BFloat16 FromBits(ushort bits) => new(bits);

    /// <summary>The bits of this number.</summary>
    public ushort ToBits() => _bits;

    /// <summary>True for a NaN.</summary>
    /// <param name="value">The number to look at.</param>
    public static bool IsNaN(BFloat16 value) => (value._bits & 0x7FFF) > 0x7F80;

    /// <summary>True for numbers that are neither infinite nor NaN.</summary>
    /// <param name="value">The number to look at.</param>
    public static bool IsFinite(BFloat16 value) => (value._bits & 0x7F80) != 0x7F80;

    /// <summary>The nearest number, ties to even; too large ones become infinite, a NaN stays a NaN.</summary>
    /// <param name="value">The number to round.</param>
    public static explicit operator BFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if ((bits & 0x7FFF_FFFF) > 0x7F80_0000)
        {
            return new BFloat16((ushort)((bits >> DroppedBits) | QuietBit));
        }

        uint roundUp = 0x7FFF + ((bits >> DroppedBits) & 1);
        return new BFloat16((ushort)((bits + roundUp) >> DroppedBits));
    }

    /// <summary>The nearest number, ties to even, rounded once.</summary>
    /// <param name="value">The number to round.</param>
    public static explicit operator BFloat16(double value)
    {
        // Rounding to float first could move a number onto a tie; the nearest odd float keeps what was cut off visible.
        float nearest = (float)value;
        if (double.IsNaN(value) || nearest == value || float.IsInfinity(nearest))
        {
            return (BFloat16)nearest;
        }

        bool isTooFar = Math.Abs((double)nearest) > Math.Abs(value);
        uint bits = BitConverter.SingleToUInt32Bits(nearest) - (isTooFar ? 1u : 0u);
        return (BFloat16)BitConverter.UInt32BitsToSingle(bits | 1);
    }

    /// <summary>The same number as a <see cref="float"/>, exactly.</summary>
    /// <param name="value">The number to widen.</param>
    public static implicit operator float(BFloat16 value) =>
        BitConverter.UInt32BitsToSingle((uint)value._bits << DroppedBits);

    /// <summary>Equal as numbers: the zeros are equal, a NaN equals nothing.</summary>
    /// <param name="left">One number.</param>
    /// <param name="right">The other.</param>
    public static bool operator ==(BFloat16 left, BFloat16 right) => (float)left == (float)right;

    /// <summary>Not equal as numbers.</summary>
    /// <param name="left">One number.</param>
    /// <param name="right">The other.</param>
    public static bool operator !=(BFloat16 left, BFloat16 right) => (float)left != (float)right;

    /// <summary>Less as numbers.</summary>
    /// <param name="left">One number.</param>
    /// <param name="right">The other.</param>
    public static bool operator <(BFloat16 left, BFloat16 right) => (float)left < (float)right;

    /// <summary>Greater as numbers.</summary>
    /// <param name="left">One number.</param>
    /// <param name="right">The other.</param>
    public static bool operator >(BFloat16 left, BFloat16 right) => (float)left > (float)right;

    /// <summary>Less or equal as numbers.</summary>
    /// <param name="left">One number.</param>
    /// <param name="right">The other.</param>
    public static bool operator <=(BFloat16 left, BFloat16 right) => (float)left <= (float)right;

    /// <summary>Greater or equal as numbers.</summary>
    /// <param name="left">One number.</param>
    /// <param name="right">The other.</param>
    public static bool operator >=(BFloat16 left, BFloat16 right) => (float)left >= (float)right;

    /// <summary>Rounds every element, ties to even.</summary>
    /// <param name="source">Numbers to round.</param>
    /// <param name="destination">Receives them; at least as long as the source.</param>
    /// <exception cref="ArgumentException">The destination is shorter than the source.</exception>
    public static void FromSingle(ReadOnlySpan<float> source, Span<BFloat16> destination)
    {
        CheckLengths(source.Length, destination.Length);
        for (int i = 0; i < source.Length; ++i)
        {
            destination[i] = (BFloat16)source[i];
        }
    }

    /// <summary>Widens every element, exactly.</summary>
    /// <param name="source">Numbers to widen.</param>
    /// <param name="destination">Receives them; at least as long as the source.</param>
    /// <exception cref="ArgumentException">The destination is shorter than the source.</exception>
    public static void ToSingle(ReadOnlySpan<BFloat16> source, Span<float> destination)
    {
        CheckLengths(source.Length, destination.Length);
        for (int i = 0; i < source.Length; ++i)
        {
            destination[i] = source[i];
        }
    }

    /// <summary>Equal as values: like ==, except that a NaN equals a NaN.</summary>
    /// <param name="other">The other number.</param>
    public bool Equals(BFloat16 other) => ((float)this).Equals((float)other);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is BFloat16 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => ((float)this).GetHashCode();

    /// <summary>Orders as <see cref="float.CompareTo(float)"/> does: a NaN comes first.</summary>
    /// <param name="other">The other number.</param>
    public int CompareTo(BFloat16 other) => ((float)this).CompareTo((float)other);

    /// <inheritdoc/>
    public override string ToString() => ToString(null, CultureInfo.CurrentCulture);

    /// <inheritdoc/>
    public string ToString(string? format, IFormatProvider? formatProvider) =>
        ((float)this).ToString(format, formatProvider);

    private static void CheckLengths(int source, int destination, [CallerMemberName] string operation = "")
    {
        if (destination < source)
        {
            throw new ArgumentException(
                $"{operation} was given {source} elements and room for {destination}; the destination must be at least "
                + "as long as the source.",
                nameof(destination));
        }
    }
}
