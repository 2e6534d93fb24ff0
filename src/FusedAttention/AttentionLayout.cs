// How contiguous tensors lie in memory. Used by AttentionShape.
namespace FusedAttention;

/// <summary>Order of the dimensions of a contiguous tensor in memory.</summary>
public enum AttentionLayout
{
    /// <summary>[B, H, L, D]: all tokens of a head lie together.</summary>
    HeadsFirst = 0,

    /// <summary>[B, L, H, D]: all heads of a token lie together (also called BSHD).</summary>
    TokensFirst = 1,
}
