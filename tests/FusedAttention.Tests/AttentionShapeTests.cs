// The named shapes.
using System;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class AttentionShapeTests
{
    [Test]
    public void Named_shapes_are_what_their_names_say()
    {
        Assert.That(AttentionShape.SelfAttention(2, 3, 4, 5), Is.EqualTo(new AttentionShape(2, 3, 4, 5)));
        Assert.That(
            AttentionShape.CrossAttention(2, 3, 4, 9, 5), Is.EqualTo(new AttentionShape(2, 3, 4, 5) { KeyLength = 9 }));
        Assert.That(
            AttentionShape.Gqa(2, 8, 2, 4, 5),
            Is.EqualTo(new AttentionShape(2, 8, 4, 5) { KeyHeads = 2, ValueHeads = 2 }));
        Assert.That(
            AttentionShape.Decode(2, 8, 2, 100, 5),
            Is.EqualTo(new AttentionShape(2, 8, 1, 5) { KeyHeads = 2, ValueHeads = 2, KeyLength = 100 }));
        Assert.That(
            AttentionShape.Packed(8, 2, 50, 60, 5),
            Is.EqualTo(new AttentionShape(1, 8, 50, 5) { KeyHeads = 2, ValueHeads = 2, KeyLength = 60 }));
    }

    [Test]
    public void Packed_queries_keys_and_values_interleave_tokens()
    {
        AttentionShape shape = AttentionShape.PackedQkv(2, 3, 4, 5);
        Assert.That(shape.Layout, Is.EqualTo(AttentionLayout.TokensFirst));
        Assert.That(shape.QueryStrides, Is.EqualTo(new TensorStrides(180, 5, 45)));
        Assert.That((shape.KeyStrides, shape.ValueStrides), Is.EqualTo((shape.QueryStrides, shape.QueryStrides)));
        Assert.That(shape.OutputStrides, Is.Null);
        Assert.That(() => AttentionShape.PackedQkv(1, 1L << 40, 1L << 40, 5), Throws.TypeOf<OverflowException>());
    }

    [Test]
    public void Value_rows_are_as_long_as_key_rows_unless_said_otherwise()
    {
        Assert.That(new AttentionShape(1, 1, 1, 7).ValueHeadDim, Is.EqualTo(7));
        Assert.That((new AttentionShape(1, 1, 1, 7) { ValueHeadDim = 3 }).HeadDim, Is.EqualTo(7));
    }
}
