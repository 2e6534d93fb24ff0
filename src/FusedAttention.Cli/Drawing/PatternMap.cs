// The tile states of one schedule pattern; made from a plan, drawn as text or picture.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace FusedAttention.Cli.Drawing;

/// <summary>States of [rows, columns] tiles of one batch entry and the heads that share it.</summary>
internal sealed class PatternMap
{
    private readonly TileState[] _states;

    /// <param name="title">Which heads the map holds for, for example "heads 0-7".</param>
    /// <param name="rows">Tiles along the queries.</param>
    /// <param name="columns">Tiles along the keys.</param>
    /// <param name="states">Row-major states.</param>
    internal PatternMap(string title, int rows, int columns, TileState[] states)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(states.LongLength, (long)rows * columns);
        Title = title;
        Rows = rows;
        Columns = columns;
        _states = states;
    }

    internal string Title { get; }

    internal int Rows { get; }

    internal int Columns { get; }

    internal TileState this[int row, int column] => _states[((long)row * Columns) + column];

    internal long Count(TileState state) => _states.LongCount(found => found == state);

    /// <summary>"12 full, 4 partial, 12 skipped (57% visited)".</summary>
    internal string Summary()
    {
        long full = Count(TileState.Full);
        long partial = Count(TileState.Partial);
        double visited = _states.Length == 0 ? 0 : 100.0 * (full + partial) / _states.Length;
        return string.Create(CultureInfo.InvariantCulture,
            $"{full} full, {partial} partial, {Count(TileState.Skipped)} skipped ({visited:F0}% visited)");
    }

    internal PatternMap Rename(string title) => new(title, Rows, Columns, _states);

    /// <summary>Heads with equal maps as one map, titled by the range of heads.</summary>
    internal static List<PatternMap> Group(int rows, int columns, IReadOnlyList<TileState[]> perHead)
    {
        List<PatternMap> maps = [];
        int first = 0;
        for (int head = 1; head <= perHead.Count; ++head)
        {
            if (head < perHead.Count && perHead[head].AsSpan().SequenceEqual(perHead[first]))
            {
                continue;
            }

            string title = head - 1 == first ? $"head {first}" : $"heads {first}-{head - 1}";
            maps.Add(new PatternMap(title, rows, columns, perHead[first]));
            first = head;
        }

        return maps;
    }
}
