// Thrown when the input is right but cannot be served here; the command loop turns it into exit code 3.
using System;

namespace FusedAttention.Cli;

/// <summary>One line for the user: what is missing (device, family, instruction set) and why.</summary>
internal sealed class UnsupportedException : Exception
{
    internal UnsupportedException(string message)
        : base(message)
    {
    }
}
