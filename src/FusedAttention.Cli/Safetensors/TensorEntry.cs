// One tensor of a safetensors file, as its header describes it; made by the header parser.
namespace FusedAttention.Cli.Safetensors;

/// <param name="Name">The tensor's name in the file.</param>
/// <param name="Dtype">Its stored element type.</param>
/// <param name="Shape">Its extents, outermost first; empty for a scalar.</param>
/// <param name="Begin">First byte, counted from the end of the header.</param>
/// <param name="End">One past the last byte.</param>
internal sealed record TensorEntry(string Name, TensorDtype Dtype, long[] Shape, long Begin, long End)
{
    internal long NumElements => (End - Begin) / Dtype.SizeInBytes();

    /// <summary>The shape as messages show it: [1, 2, 90, 16].</summary>
    internal string ShapeText => $"[{string.Join(", ", Shape)}]";
}
