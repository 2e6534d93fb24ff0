// Thrown by the readers and verbs when what the user gave is wrong; the command loop turns it into exit code 2.
using System;

namespace FusedAttention.Cli;

/// <summary>One line for the user: what was asked, what was found, what is allowed.</summary>
internal sealed class BadInputException : Exception
{
    internal BadInputException(string message)
        : base(message)
    {
    }

    internal BadInputException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
