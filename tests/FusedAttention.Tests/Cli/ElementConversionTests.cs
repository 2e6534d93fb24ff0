// Tests of the conversions between stored element types.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class ElementConversionTests
{
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
        BFloat16[] result = new BFloat16[1];
        ElementConversion.ToBFloat16(TensorDtype.F64, MemoryMarshal.AsBytes([value]), result);
        Assert.That(result[0].ToBits(), Is.EqualTo(expected));
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
    public void Sixteen_bit_numbers_widen_exactly_and_convert_to_each_other()
    {
        Half[] halves = [(Half)1.5, Half.Epsilon, Half.NegativeInfinity];
        BFloat16[] brains = new BFloat16[3];
        float[] singles = new float[3];
        ElementConversion.ToBFloat16(TensorDtype.F16, MemoryMarshal.AsBytes<Half>(halves), brains);
        ElementConversion.ToSingle(TensorDtype.BF16, MemoryMarshal.AsBytes<BFloat16>(brains), singles);
        Assert.That(singles, Is.EqualTo(new[] { 1.5f, 1f / (1 << 24), float.NegativeInfinity }));
        ElementConversion.ToHalf(TensorDtype.BF16, MemoryMarshal.AsBytes<BFloat16>(brains), halves);
        Assert.That(halves, Is.EqualTo(new[] { (Half)1.5, Half.Epsilon, Half.NegativeInfinity }));
    }

    [Test]
    public void Integers_are_no_floats()
    {
        Assert.That(() => ElementConversion.ToSingle(TensorDtype.I32, [0, 0, 0, 0], new float[1]),
            Throws.TypeOf<ArgumentOutOfRangeException>());
    }
}
