// The element types of tensors. Used by TensorIn, TensorOut and descriptions of plans.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Type of the elements of a tensor.</summary>
public enum ElementType
{
    /// <summary>A type that tensors do not hold.</summary>
    None = (int)fattn_dtype.FATTN_DTYPE_DEFAULT,

    /// <summary>IEEE binary32, <see cref="float"/>.</summary>
    Float32 = (int)fattn_dtype.FATTN_DTYPE_F32,

    /// <summary>IEEE binary16, <see cref="System.Half"/>.</summary>
    Float16 = (int)fattn_dtype.FATTN_DTYPE_F16,

    /// <summary>The upper half of a binary32, <see cref="FusedAttention.BFloat16"/>.</summary>
    BFloat16 = (int)fattn_dtype.FATTN_DTYPE_BF16,

    /// <summary>32-bit signed integer, <see cref="int"/>.</summary>
    Int32 = (int)fattn_dtype.FATTN_DTYPE_I32,

    /// <summary>Unsigned byte, <see cref="byte"/>.</summary>
    UInt8 = (int)fattn_dtype.FATTN_DTYPE_U8,
}
