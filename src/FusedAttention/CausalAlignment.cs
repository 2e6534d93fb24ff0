// Where query 0 stands relative to key 0. Used by DenseOptions.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Where positions are counted from when there are fewer or more queries than keys.</summary>
public enum CausalAlignment
{
    /// <summary>The last query stands at the last key: query i has position i + Lk - Lq.</summary>
    BottomRight = (int)fattn_alignment.FATTN_ALIGNMENT_BOTTOM_RIGHT,

    /// <summary>The first query stands at the first key: query i has position i.</summary>
    TopLeft = (int)fattn_alignment.FATTN_ALIGNMENT_TOP_LEFT,
}
