// The C types that the header may use, as C# spells them. Made by TypeMapper, used by the writers.
namespace FusedAttention.BindingGenerator.Model;

/// <summary>A mapped type: its C# spelling, the size of one element, and the array length (0: not an array).</summary>
internal sealed record CType(string CSharp, int ArrayLength)
{
    public bool IsArray => ArrayLength > 0;
}
