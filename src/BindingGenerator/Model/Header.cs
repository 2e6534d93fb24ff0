// Everything the header declares, in its order. Made by HeaderReader, used by BindingWriter.
using System.Collections.Generic;

namespace FusedAttention.BindingGenerator.Model;

internal sealed record Header(
    string Hash,
    IReadOnlyList<KeyValuePair<string, uint>> Constants,
    IReadOnlyList<CEnum> Enums,
    IReadOnlyList<CStruct> Structs,
    IReadOnlyList<CFunction> Functions);
