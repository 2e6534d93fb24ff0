// What plans say about themselves.
using System.Linq;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class PlanQueryTests
{
    [Test]
    public void A_plan_describes_kernel_memory_and_work()
    {
        using var plan = new DenseAttentionPlan<float>(new AttentionShape(2, 4, 512, 64));
        PlanDescription description = plan.Describe();
        Assert.That(description.Device, Is.EqualTo(DeviceKind.Cpu));
        Assert.That(description.ForwardKernel, Is.Not.Empty);
        Assert.That(description.BackwardWorkspaceBytes, Is.Zero);
        Assert.That(description.ForwardFlops, Is.EqualTo(4.0 * 2 * 4 * 512 * 512 * 64).Within(1).Percent);
        Assert.That(plan.GetWorkspaceBytes(AttentionPass.Forward), Is.EqualTo(description.ForwardWorkspaceBytes));
        Assert.That(
            plan.GetWorkspaceBytes(AttentionPass.Forward, 1), Is.LessThanOrEqualTo(description.ForwardWorkspaceBytes));
    }

    [Test]
    public void A_causal_plan_skips_about_half()
    {
        using var full = new DenseAttentionPlan<float>(new AttentionShape(1, 1, 2048, 64));
        using var causal = new DenseAttentionPlan<float>(
            new AttentionShape(1, 1, 2048, 64), new DenseOptions { Causal = true });
        Assert.That(full.GetScheduleStats().SkippedTiles, Is.Zero);
        ScheduleStats stats = causal.GetScheduleStats();
        Assert.That(stats.NeededPairs, Is.EqualTo(2048.0 * 2049 / 2));
        Assert.That(stats.VisitedPairs, Is.GreaterThanOrEqualTo(stats.NeededPairs));
        Assert.That(
            stats.FullTiles + stats.PartialTiles + stats.SkippedTiles, Is.EqualTo(stats.QueryTiles * stats.KeyTiles));
        Assert.That(causal.Describe().ForwardFlops, Is.LessThan(0.7 * full.Describe().ForwardFlops));
    }

    [Test]
    public void A_tile_map_agrees_with_the_sums()
    {
        using var plan = new DenseAttentionPlan<float>(
            new AttentionShape(2, 3, 700, 32),
            new DenseOptions { Causal = true, Window = new AttentionWindow(200, null) });
        ScheduleStats stats = plan.GetScheduleStats();
        long full = 0, partial = 0, skipped = 0;
        for (int batch = 0; batch < 2; ++batch)
        {
            for (int head = 0; head < 3; ++head)
            {
                TileMap map = plan.GetTileMap(batch, head);
                Assert.That((map.Rows, map.Columns), Is.EqualTo((stats.QueryTiles, stats.KeyTiles)));
                full += map.Tiles.ToArray().Count(t => t == TileState.Full);
                partial += map.Tiles.ToArray().Count(t => t == TileState.Partial);
                skipped += map.Tiles.ToArray().Count(t => t == TileState.Skipped);
            }
        }

        Assert.That((full, partial, skipped), Is.EqualTo((stats.FullTiles, stats.PartialTiles, stats.SkippedTiles)));
    }

    [Test]
    public void Full_tiles_lie_inside_the_pattern_and_the_pattern_inside_visited_tiles()
    {
        const int Length = 1000, Left = 300;
        using var plan = new DenseAttentionPlan<float>(
            new AttentionShape(1, 1, Length, 64),
            new DenseOptions { Causal = true, Window = new AttentionWindow(Left, null) });
        ScheduleStats stats = plan.GetScheduleStats();
        TileMap map = plan.GetTileMap();
        for (int query = 0; query < Length; ++query)
        {
            for (int key = 0; key < Length; ++key)
            {
                TileState state = map[query / stats.TileQueries, key / stats.TileKeys];
                bool isVisible = key <= query && key >= query - Left;
                if (isVisible ? state == TileState.Skipped : state == TileState.Full)
                {
                    Assert.Fail($"query {query}, key {key}: visible {isVisible}, tile {state}");
                }
            }
        }
    }

    [Test]
    public void Workspace_is_asked_for_a_pass_of_the_plan_and_some_threads()
    {
        using var plan = new DenseAttentionPlan<float>(new AttentionShape(1, 1, 64, 32));
        Assert.That(
            () => plan.GetWorkspaceBytes(AttentionPass.Backward),
            Throws.TypeOf<AttentionException>().With.Message.Contains("BACKWARD"));
        Assert.That(() => plan.GetWorkspaceBytes(AttentionPass.Forward, -1), Throws.TypeOf<AttentionException>());
    }

    [Test]
    public void Tiles_heads_and_entries_that_do_not_exist_are_refused()
    {
        using var plan = new DenseAttentionPlan<float>(new AttentionShape(1, 1, 64, 32));
        TileMap map = plan.GetTileMap();
        Assert.That(() => map[-1, 0], Throws.TypeOf<System.ArgumentOutOfRangeException>());
        Assert.That(() => map[0, map.Columns], Throws.TypeOf<System.ArgumentOutOfRangeException>());
        Assert.That(() => plan.GetTileMap(1, 0), Throws.TypeOf<AttentionException>());
        Assert.That(() => plan.GetTileMap(0, 1), Throws.TypeOf<AttentionException>());
    }
}
