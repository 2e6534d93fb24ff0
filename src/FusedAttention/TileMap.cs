// The schedule of one head as a picture. Made by the plans, drawn by `fattn draw`.
using System;
using System.Runtime.InteropServices;

namespace FusedAttention;

/// <summary>States of all tiles of one batch entry and query head.</summary>
public sealed class TileMap
{
    private readonly byte[] _tiles;

    internal TileMap(byte[] tiles, long rows, long columns)
    {
        _tiles = tiles;
        Rows = rows;
        Columns = columns;
    }

    /// <summary>Tiles along the queries.</summary>
    public long Rows { get; }

    /// <summary>Tiles along the keys.</summary>
    public long Columns { get; }

    /// <summary>All states, row by row.</summary>
    public ReadOnlySpan<TileState> Tiles => MemoryMarshal.Cast<byte, TileState>(_tiles);

    /// <summary>State of one tile.</summary>
    /// <param name="row">Position along the queries, from 0.</param>
    /// <param name="column">Position along the keys, from 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such tile.</exception>
    public TileState this[long row, long column]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(row);
            ArgumentOutOfRangeException.ThrowIfNegative(column);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Rows);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(column, Columns);
            return (TileState)_tiles[(row * Columns) + column];
        }
    }
}
