// One parameter of a function of the header. Made by HeaderReader, used by FunctionWriter.
namespace FusedAttention.BindingGenerator.Model;

internal sealed record CParameter(string Name, CType Type);
