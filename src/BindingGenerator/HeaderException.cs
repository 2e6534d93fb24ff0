// Says that the header, or the machine, does not allow bindings to be written. Thrown everywhere, caught by Program.
using System;

namespace FusedAttention.BindingGenerator;

/// <summary>The header holds something the bindings have no rule for, or clang cannot be run.</summary>
internal sealed class HeaderException(string message) : Exception(message);
