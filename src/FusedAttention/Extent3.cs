// Three extents of a grid or block. Part of LaunchSize.
namespace FusedAttention;

/// <summary>Extents in x, y and z.</summary>
/// <param name="X">In x.</param>
/// <param name="Y">In y.</param>
/// <param name="Z">In z.</param>
public readonly record struct Extent3(int X, int Y = 1, int Z = 1)
{
    /// <summary>An extent in x alone.</summary>
    /// <param name="x">The extent.</param>
    public static implicit operator Extent3(int x) => new(x);
}
