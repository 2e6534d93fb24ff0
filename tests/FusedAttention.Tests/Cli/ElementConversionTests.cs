// Tests of the conversions between stored element types.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class ElementConversionTests
{
    [Test]
    public void Every_bfloat16_survives_the_way_through_float()
    {
        for (int bits = 0; bits <= ushort.MaxValue; ++bits)
        {
            float value = ElementConversion.BFloat16BitsToSingle((ushort)bits);
            ushort back = ElementConversion.SingleToBFloat16Bits(value);
            int expected = float.IsNaN(value) ? bits | 0x40 : bits;
            if (back != expected)
            {
                Assert.Fail($"0x{bits:X4} came back as 0x{back:X4}");
            }
        }
    }

    [TestCase(1.0 + (1.0 / 256), (ushort)0x3F80, Description = "tie goes to even, down")]
    [TestCase(1.0 + (3.0 / 256), (ushort)0x3F82, Description = "tie goes to even, up")]
    [TestCase(1.0 + (1.0 / 256) + 1e-12, (ushort)0x3F81, Description = "just above a tie that float cannot see")]
    [TestCase(1.0 + (3.0 / 256) - 1e-12, (ushort)0x3F81, Description = "just below a tie that float cannot see")]
    [TestCase(-1.0 - (1.0 / 256) - 1e-12, (ushort)0xBF81)]
    [TestCase(1e300, (ushort)0x7F80)]
    [TestCase(-1e300, (ushort)0xFF80)]
    [TestCase(double.PositiveInfinity, (ushort)0x7F80)]
    public void Double_rounds_once_to_bfloat16(double value, ushort expected)
    {
        ushort[] result = new ushort[1];
        ElementConversion.ToBFloat16Bits(TensorDtype.F64, MemoryMarshal.AsBytes([value]), result);
        Assert.That(result[0], Is.EqualTo(expected));
    }

    [Test]
    public void Double_rounds_once_to_half()
    {
        double justAboveTie = 1.0 + (1.0 / 2048) + 1e-12;
        Half[] result = new Half[1];
        ElementConversion.ToHalf(TensorDtype.F64, MemoryMarshal.AsBytes([justAboveTie]), result);
        Assert.That((double)result[0], Is.EqualTo(1.0 + (1.0 / 1024)));
    }

    [Test]
    public void Integers_are_no_floats()
    {
        Assert.That(() => ElementConversion.ToSingle(TensorDtype.I32, [0, 0, 0, 0], new float[1]),
            Throws.TypeOf<ArgumentOutOfRangeException>());
    }
}
