// State of one tile of a schedule. Used by TileMap.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>What a kernel does with a tile of scores.</summary>
public enum TileState : byte
{
    /// <summary>The tile is not visited.</summary>
    Skipped = (byte)fattn_tile.FATTN_TILE_SKIPPED,

    /// <summary>The tile is visited; visibility is decided pair by pair.</summary>
    Partial = (byte)fattn_tile.FATTN_TILE_PARTIAL,

    /// <summary>The tile is visited and every pair is visible.</summary>
    Full = (byte)fattn_tile.FATTN_TILE_FULL,
}
