// One enumeration of the header, values and bit sets alike. Made by HeaderReader, used by EnumWriter.
using System.Collections.Generic;

namespace FusedAttention.BindingGenerator.Model;

internal sealed record CEnum(string Name, bool IsFlags, IReadOnlyList<CEnumValue> Values, string Documentation);
