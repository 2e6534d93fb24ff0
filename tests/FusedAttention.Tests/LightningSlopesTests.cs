// The published slope conventions against numbers worked out by hand.
using System;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class LightningSlopesTests
{
    [Test]
    public void OpenNlpLab_of_a_power_of_two_is_geometric() => Assert.That(
        LightningSlopes.OpenNlpLab(8),
        Is.EqualTo(new[] { 0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.015625f, 0.0078125f, 0.00390625f }));

    [Test]
    public void OpenNlpLab_of_other_numbers_appends_every_second_of_the_next_power()
    {
        // 4: 2^-2, 2^-4, 2^-6, 2^-8; 8: 2^-1, (2^-2), 2^-3, ...
        Assert.That(
            LightningSlopes.OpenNlpLab(6), Is.EqualTo(new[] { 0.25f, 0.0625f, 0.015625f, 0.00390625f, 0.5f, 0.125f }));
        Assert.That(LightningSlopes.OpenNlpLab(1), Is.EqualTo(new[] { 0.00390625f }));
    }

    [Test]
    public void OpenNlpLab_weakens_with_the_layer()
    {
        Assert.That(LightningSlopes.OpenNlpLab(8, 0, 5)[0], Is.EqualTo(0.5f * 1.00001f).Within(1e-7f));
        Assert.That(LightningSlopes.OpenNlpLab(8, 2, 5)[0], Is.EqualTo(0.5f * 0.50001f).Within(1e-7f));
        Assert.That(LightningSlopes.OpenNlpLab(8, 4, 5)[0], Is.EqualTo(0.5f * 0.00001f).Within(1e-9f));
    }

    [Test]
    public void MiniMax_is_geometric_for_any_number_of_heads()
    {
        float[] slopes = LightningSlopes.MiniMax(6, 0, 80);
        for (int h = 0; h < 6; ++h)
        {
            Assert.That(slopes[h], Is.EqualTo(Math.Pow(2, -8.0 * (h + 1) / 6) * 1.00001).Within(1e-7));
        }

        Assert.That(
            LightningSlopes.MiniMax(64, 40, 80)[63],
            Is.EqualTo(Math.Pow(2, -8) * (1 - (40 / 79.00001) + 1e-5)).Within(1e-9));
    }

    [Test]
    public void FlashLinear_leaves_the_first_head_without_decay() => Assert.That(
        LightningSlopes.FlashLinear(4, 1, 2), Is.EqualTo(new[] { 0f, 1f, 2f, 3f }));

    [Test]
    public void Numbers_outside_their_range_are_refused()
    {
        Assert.That(() => LightningSlopes.OpenNlpLab(0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => LightningSlopes.OpenNlpLab(4, 0, 1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => LightningSlopes.MiniMax(4, 80, 80), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => LightningSlopes.FlashLinear(4, -1, 8), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }
}
