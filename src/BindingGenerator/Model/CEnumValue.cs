// One constant of an enumeration of the header. Made by HeaderReader, used by EnumWriter.
namespace FusedAttention.BindingGenerator.Model;

internal sealed record CEnumValue(string Name, uint Value, string Documentation);
