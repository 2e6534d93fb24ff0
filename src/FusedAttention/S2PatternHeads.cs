// Which heads have patterns of their own. Used by S2Options.
namespace FusedAttention;

/// <summary>What the patterns of S2 attention are counted over.</summary>
public enum S2PatternHeads
{
    /// <summary>One pattern per key head; query heads that share it share the pattern.</summary>
    KeyValue = 0,

    /// <summary>One pattern per query head.</summary>
    Query = 1,
}
