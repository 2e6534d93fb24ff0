// One exported function of the header. Made by HeaderReader, used by FunctionWriter.
using System.Collections.Generic;

namespace FusedAttention.BindingGenerator.Model;

internal sealed record CFunction(
    string Name, CType ReturnType, IReadOnlyList<CParameter> Parameters, string Documentation);
