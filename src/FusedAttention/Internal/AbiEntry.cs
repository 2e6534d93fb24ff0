// One line of the table of struct layouts. Made by the generated AbiTable, compared by AbiCheck.
namespace FusedAttention.Internal;

/// <summary>Place and size of a field in bytes, or, without a field name, size of a whole struct.</summary>
internal readonly record struct AbiEntry(string Structure, string? Field, uint Offset, uint Size);
