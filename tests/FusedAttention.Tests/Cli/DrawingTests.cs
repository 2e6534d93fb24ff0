// Tests of how schedules are drawn: grouping of heads, text, thinning, and the colours of the picture.
using System;
using System.Linq;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Imaging;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class DrawingTests
{
    private static readonly TileState[] Triangle =
        [TileState.Partial, TileState.Skipped, TileState.Full, TileState.Partial];

    [Test]
    public void Equal_heads_share_a_map()
    {
        TileState[] other = [TileState.Full, TileState.Full, TileState.Full, TileState.Full];
        Assert.That(PatternMap.Group(2, 2, [Triangle, Triangle, other, Triangle]).Select(static map => map.Title),
            Is.EqualTo(new[] { "heads 0-1", "head 2", "head 3" }));
        Assert.That(PatternMap.Group(2, 2, []), Is.Empty);
    }

    [Test]
    public void Text_shows_each_state()
    {
        string text = ScheduleText.Draw(new PatternMap("head 0", 2, 2, Triangle));
        Assert.That(text, Is.EqualTo("head 0: 1 full, 2 partial, 1 skipped (75% visited)\n+.\n#+\n"));
    }

    [Test]
    public void Large_maps_are_thinned_and_mixed_groups_show_as_partial()
    {
        TileState[] states = [.. Enumerable.Range(0, 128).Select(static i => (TileState)(i % 2 * 2))];
        string text = ScheduleText.Draw(new PatternMap("h", 1, 128, states));
        Assert.That(text, Does.Contain("one character is 1 x 2 tiles\n").And.Contain(new string('+', 64) + "\n"));
        states = [.. Enumerable.Repeat(TileState.Full, 64), .. Enumerable.Repeat(TileState.Skipped, 64)];
        text = ScheduleText.Draw(new PatternMap("h", 128, 1, states));
        Assert.That(text.Split('\n').Where(static line => line is "#" or ".").Count(), Is.EqualTo(64));
    }

    [Test]
    public void Picture_has_one_cell_for_each_tile()
    {
        Raster picture = SchedulePicture.Draw([new PatternMap("head 0", 2, 2, Triangle)], ["heading"]);
        byte[] blue = [38, 98, 168];
        byte[] orange = [240, 164, 60];

        // Two partial tiles and one full one of 31 x 31 pixels inside their lines, and the legend's squares.
        Assert.That(Count(picture, orange), Is.EqualTo((2 * 31 * 31) + (12 * 12)));
        Assert.That(Count(picture, blue), Is.EqualTo((31 * 31) + (12 * 12)));
    }

    [TestCase(1, 1)]
    [TestCase(1, 5000)]
    [TestCase(3000, 2)]
    public void Any_size_of_map_can_be_drawn(int rows, int columns)
    {
        PatternMap map = new("head 0", rows, columns, new TileState[rows * columns]);
        Raster picture = SchedulePicture.Draw([.. Enumerable.Repeat(map, 20)], []);
        Assert.That(picture.Width, Is.LessThan(4000));
        Assert.That(picture.Height, Is.LessThan(4000));
    }

    [Test]
    public void Plot_marks_every_point_in_its_line_s_colour()
    {
        PlotLine flat = new("flat", [(1000, 2), (10000, 2), (100000, 2)]);
        PlotLine rising = new("rising", [(1000, 1), (10000, 10)]);
        Raster one = new LinePlot("cost", "tokens", "us", [flat]).Draw();
        Raster both = new LinePlot("cost", "tokens", "us", [flat, rising]).Draw();
        byte[] blue = [38, 98, 168];
        byte[] orange = [214, 118, 24];
        Assert.That(Count(one, blue), Is.GreaterThan(1500));
        Assert.That(Count(one, orange), Is.Zero);
        Assert.That(Count(both, orange), Is.GreaterThan(500));
    }

    [Test]
    public void Pictures_are_stacked_in_order()
    {
        PatternMap map = new("head 0", 2, 2, Triangle);
        Raster first = SchedulePicture.Draw([map], ["heading"]);
        Raster second = SchedulePicture.Draw([map, map], ["heading"]);
        Raster stack = SchedulePicture.Stack([first, second]);
        Assert.That(stack.Width, Is.EqualTo(second.Width));
        Assert.That(stack.Height, Is.EqualTo(first.Height + second.Height));
        Assert.That(stack.Row(first.Height + 20).ToArray(), Is.EqualTo(second.Row(20).ToArray()));
    }

    private static int Count(Raster picture, byte[] color)
    {
        int count = 0;
        for (int pixel = 0; pixel < picture.Width * picture.Height; ++pixel)
        {
            count += picture.Pixels.AsSpan(pixel * 3, 3).SequenceEqual(color) ? 1 : 0;
        }

        return count;
    }
}
