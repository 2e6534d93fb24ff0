// Sums over the schedule of a plan. Made by the plans.
namespace FusedAttention;

/// <summary>Sums over the schedule of a plan, at capacity where lengths come with the run.</summary>
public sealed record ScheduleStats
{
    /// <summary>Query rows of a tile.</summary>
    public required long TileQueries { get; init; }

    /// <summary>Keys of a tile.</summary>
    public required long TileKeys { get; init; }

    /// <summary>Tiles along the queries.</summary>
    public required long QueryTiles { get; init; }

    /// <summary>Tiles along the keys.</summary>
    public required long KeyTiles { get; init; }

    /// <summary>Tiles whose every pair is visible, over all batch entries and heads.</summary>
    public required long FullTiles { get; init; }

    /// <summary>Tiles with some visible pair that are not full.</summary>
    public required long PartialTiles { get; init; }

    /// <summary>Tiles that are not visited.</summary>
    public required long SkippedTiles { get; init; }

    /// <summary>Visible (query, key) pairs.</summary>
    public required double NeededPairs { get; init; }

    /// <summary>Pairs of all visited tiles.</summary>
    public required double VisitedPairs { get; init; }
}
