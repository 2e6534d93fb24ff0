// What the heads of an S2 plan see together. Made by S2AttentionPlan.
using System.Globalization;

namespace FusedAttention;

/// <summary>Which part of the context the heads of an S2 pattern see together.</summary>
/// <param name="AllowedBlocks">Pairs of a query block and a key block that dense attention would see.</param>
/// <param name="UnseenBlocks">Those of them that no head sees.</param>
/// <param name="Shards">Shards of the distant blocks; 1 when the pattern is not causal.</param>
/// <param name="UnseenShards">Shards that no head sees at a distance; 0 when the pattern is not causal.</param>
public sealed record S2Coverage(long AllowedBlocks, long UnseenBlocks, long Shards, long UnseenShards)
{
    /// <summary>A sentence when some part of the context is seen by no head; otherwise null.</summary>
    public string? Warning
    {
        get
        {
            if (UnseenBlocks == 0)
            {
                return null;
            }

            string shards = UnseenShards == 0
                ? "."
                : $"; {UnseenShards} of the {Shards} shards belong to no head.";
            double share = 100.0 * UnseenBlocks / AllowedBlocks;
            return string.Create(
                CultureInfo.InvariantCulture,
                $"No head sees {UnseenBlocks} of the {AllowedBlocks} blocks ({share:F0} %){shards}");
        }
    }
}
