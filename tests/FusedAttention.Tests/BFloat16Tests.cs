// The 16-bit type: rounding, order, special values, conversion of whole spans.
using System;
using System.Globalization;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Fluent;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class BFloat16Tests
{
    [Test]
    public void Every_bit_pattern_survives_the_way_to_float_and_back()
    {
        for (int bits = 0; bits <= ushort.MaxValue; ++bits)
        {
            BFloat16 value = BFloat16.FromBits((ushort)bits);
            var back = (BFloat16)(float)value;
            int expected = BFloat16.IsNaN(value) ? bits | 0x40 : bits;
            Assert.That(back.ToBits(), Is.EqualTo(expected));
        }
    }

    [Test]
    public void Floats_round_to_the_nearest_and_ties_to_even() => Prop.ForAll(
        ArbMap.Default.ArbFor<int>().Convert(BitConverter.Int32BitsToSingle, BitConverter.SingleToInt32Bits),
        value => !float.IsFinite(value) || (float)(BFloat16)value == Nearest(value)).QuickCheckThrowOnFailure();

    [Test]
    public void Ordinary_floats_round_to_the_nearest_and_ties_to_even() => Prop.ForAll(
        ArbMap.Default.ArbFor<float>(),
        value => !float.IsFinite(value) || (float)(BFloat16)value == Nearest(value)).QuickCheckThrowOnFailure();

    [TestCase(0x3F808000u, 0x3F80, Description = "1 and a half unit: down to even")]
    [TestCase(0x3F818000u, 0x3F82, Description = "odd and a half unit: up to even")]
    [TestCase(0x3F808001u, 0x3F81, Description = "just above the half unit")]
    [TestCase(0x7F7FFFFFu, 0x7F80, Description = "the largest float becomes infinite")]
    [TestCase(0x7F800001u, 0x7FC0, Description = "a NaN whose payload lies in the cut bits stays a NaN")]
    public void Known_floats_round_to_known_bits(uint bits, int expected) =>
        Assert.That(((BFloat16)BitConverter.UInt32BitsToSingle(bits)).ToBits(), Is.EqualTo(expected));

    [Test]
    public void Doubles_round_once()
    {
        // 1 + 2^-8 is a tie between 1 and 1 + 2^-7; a hair more must go up, though a float cannot hold the hair.
        Assert.That(((BFloat16)(1 + Math.ScaleB(1, -8) + Math.ScaleB(1, -40))).ToBits(), Is.EqualTo(0x3F81));
        Assert.That(((BFloat16)(1 + Math.ScaleB(1, -8) - Math.ScaleB(1, -40))).ToBits(), Is.EqualTo(0x3F80));
        Assert.That(((BFloat16)(-1 - Math.ScaleB(1, -8) - Math.ScaleB(1, -40))).ToBits(), Is.EqualTo(0xBF81));
        Assert.That(((BFloat16)1e300).ToBits(), Is.EqualTo(BFloat16.PositiveInfinity.ToBits()));
        Assert.That(BFloat16.IsNaN((BFloat16)double.NaN));
        Assert.That(((BFloat16)1e-300).ToBits(), Is.Zero);
    }

    [Test]
    public void Comparisons_are_those_of_floats()
    {
        float[] values = [float.NaN, float.NegativeInfinity, -2, -0f, 0, 1, float.PositiveInfinity];
        foreach (float a in values)
        {
            foreach (float b in values)
            {
                var x = (BFloat16)a;
                var y = (BFloat16)b;
                Assert.That(
                    (x == y, x != y, (x < y), (x > y), x <= y, x >= y),
                    Is.EqualTo((a == b, a != b, (a < b), (a > b), a <= b, a >= b)), $"{a} {b}");
                Assert.That(
                    (x.Equals(y), Math.Sign(x.CompareTo(y))), Is.EqualTo((a.Equals(b), Math.Sign(a.CompareTo(b)))));
            }
        }
    }

    [Test]
    public void Equal_values_have_equal_hash_codes()
    {
        Assert.That(BFloat16.NaN.Equals(BFloat16.FromBits(0xFFC1)));
        Assert.That(BFloat16.NaN.GetHashCode(), Is.EqualTo(BFloat16.FromBits(0xFFC1).GetHashCode()));
        Assert.That(((BFloat16)0f).GetHashCode(), Is.EqualTo(((BFloat16)(-0f)).GetHashCode()));
    }

    [Test]
    public void Limits_are_what_their_names_say()
    {
        Assert.That((float)BFloat16.MaxValue, Is.EqualTo(3.38953139e38f));
        Assert.That((float)BFloat16.MinValue, Is.EqualTo(-3.38953139e38f));
        Assert.That((float)BFloat16.Epsilon, Is.EqualTo(9.18354962e-41f));
        Assert.That((float)BFloat16.PositiveInfinity, Is.EqualTo(float.PositiveInfinity));
        Assert.That((float)BFloat16.NegativeInfinity, Is.EqualTo(float.NegativeInfinity));
        Assert.That(BFloat16.IsFinite(BFloat16.MaxValue) && !BFloat16.IsFinite(BFloat16.NaN));
    }

    [Test]
    public void Spans_convert_element_by_element()
    {
        float[] source = Enumerable.Range(-50, 100).Select(i => i * 0.37f).ToArray();
        var narrow = new BFloat16[source.Length];
        float[] wide = new float[source.Length];
        BFloat16.FromSingle(source, narrow);
        BFloat16.ToSingle(narrow, wide);
        Assert.That(wide, Is.EqualTo(source.Select(x => (float)(BFloat16)x)));
        Assert.That(() => BFloat16.FromSingle(source, new BFloat16[3]), Throws.ArgumentException);
        Assert.That(() => BFloat16.ToSingle(narrow, new float[3]), Throws.ArgumentException);
    }

    [Test]
    public void Memory_of_unsigned_shorts_is_read_in_place()
    {
        ushort[] bits = [0x3F80, 0xC000];
        Span<BFloat16> values = MemoryMarshal.Cast<ushort, BFloat16>(bits.AsSpan());
        Assert.That(((float)values[0], (float)values[1]), Is.EqualTo((1f, -2f)));
        Assert.That(Unsafe.SizeOf<BFloat16>(), Is.EqualTo(2));
    }

    [Test]
    public void The_type_of_newer_runtimes_is_accepted_by_its_name()
    {
        DenseCase problem = DenseCase.Create<BFloat16>(new AttentionShape(1, 2, 9, 16));
        var output = new System.Numerics.BFloat16[problem.Query.Length];
        DenseAttention.Forward<System.Numerics.BFloat16>(
            Newer(problem.Query), Newer(problem.Key), Newer(problem.Value), output, problem.Shape);
        double[] expected = problem.Forward<BFloat16>().Output;
        Assert.That(output.Select(x => (double)BFloat16.FromBits(x.Bits)), Is.EqualTo(expected));

        static System.Numerics.BFloat16[] Newer(float[] values) =>
            Array.ConvertAll(values, x => new System.Numerics.BFloat16 { Bits = ((BFloat16)x).ToBits() });
    }

    [Test]
    public void Text_is_that_of_the_float() =>
        Assert.That(((BFloat16)1.5f).ToString("f2", CultureInfo.InvariantCulture), Is.EqualTo("1.50"));

    // The nearest of the two neighbours, found in double precision where nothing rounds.
    private static float Nearest(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        uint low = bits & 0xFFFF_0000, high = low + 0x1_0000;
        double below = BitConverter.UInt32BitsToSingle(low);
        double above = (high & 0x7FFF_FFFF) == 0x7F80_0000
            ? Math.Sign((double)value) * Math.ScaleB(1, 128)
            : BitConverter.UInt32BitsToSingle(high);
        double toBelow = Math.Abs(value - below), toAbove = Math.Abs(value - above);
        bool takesBelow = toBelow < toAbove || (toBelow == toAbove && (low & 0x1_0000) == 0);
        return BitConverter.UInt32BitsToSingle(takesBelow ? low : high);
    }
}
