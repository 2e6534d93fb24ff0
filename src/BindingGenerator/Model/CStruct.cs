// One struct of the header; an opaque handle has no fields. Made by HeaderReader, used by the writers.
using System.Collections.Generic;

namespace FusedAttention.BindingGenerator.Model;

internal sealed record CStruct(string Name, bool IsOpaque, IReadOnlyList<CField> Fields, string Documentation);
