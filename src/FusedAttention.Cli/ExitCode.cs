// The process exit codes of the fattn tool; every verb returns one of them.
namespace FusedAttention.Cli;

internal static class ExitCode
{
    /// <summary>Everything asked for was done.</summary>
    internal const int Success = 0;

    /// <summary>Not the caller's input and not a missing device: disk full, a native failure, a bug.</summary>
    internal const int Failure = 1;

    /// <summary>The command line, the problem or a tensor file is wrong.</summary>
    internal const int BadInput = 2;

    /// <summary>The device is absent, or the problem is not supported there.</summary>
    internal const int NotSupported = 3;
}
