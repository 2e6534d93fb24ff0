// How a visibility mask is stored. Used by MaskOptions.
namespace FusedAttention;

/// <summary>Storage of a visibility mask.</summary>
public enum MaskFormat
{
    /// <summary>One byte for each pair; 0 means hidden.</summary>
    Bytes = 0,

    /// <summary>
    /// One bit for each pair, the least significant bit of a byte first; 1 means visible. Strides count bits.
    /// </summary>
    Bits = 1,
}
