// One field of a struct of the header. Made by HeaderReader, used by the writers.
namespace FusedAttention.BindingGenerator.Model;

internal sealed record CField(string Name, CType Type, string Documentation);
