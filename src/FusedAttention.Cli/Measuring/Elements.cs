// Conversions between float and the element types of the library, as type parameters of the measured cases.
using System;

namespace FusedAttention.Cli.Measuring;

/// <summary>How the elements of a tensor are made from floats and read back.</summary>
/// <typeparam name="T">The library's element type.</typeparam>
internal interface IElements<T>
    where T : unmanaged
{
    static abstract string Name { get; }

    /// <summary>The machine peak that a run of this type is compared with.</summary>
    static abstract PeakKind Peak { get; }

    /// <summary>The same on a GPU.</summary>
    static abstract PeakKind PeakOnGpu { get; }

    static abstract T FromSingle(float value);

    static abstract float ToSingle(T value);
}

internal readonly struct SingleElements : IElements<float>
{
    public static string Name => "f32";

    public static PeakKind Peak => PeakKind.Float32;

    public static PeakKind PeakOnGpu => PeakKind.Float32;

    public static float FromSingle(float value) => value;

    public static float ToSingle(float value) => value;
}

internal readonly struct HalfElements : IElements<Half>
{
    public static string Name => "f16";

    public static PeakKind Peak => PeakKind.Float32;

    public static PeakKind PeakOnGpu => PeakKind.BFloat16;

    public static Half FromSingle(float value) => (Half)value;

    public static float ToSingle(Half value) => (float)value;
}

internal readonly struct BFloat16Elements : IElements<BFloat16>
{
    public static string Name => "bf16";

    public static PeakKind Peak => PeakKind.BFloat16;

    public static PeakKind PeakOnGpu => PeakKind.BFloat16;

    public static BFloat16 FromSingle(float value) => (BFloat16)value;

    public static float ToSingle(BFloat16 value) => value;
}
