// The tune verb: says what it needs before there is anything to tune.
using System.CommandLine;

namespace FusedAttention.Cli.Verbs;

internal static class TuneVerb
{
    internal static Command Make()
    {
        Command command = new(
            "tune", "Searches kernel configurations on this device and stores the winners (not available yet).");
        command.SetAction(static _ => Run());
        return command;
    }

    private static int Run() => throw new UnsupportedException(
        "tune is not available yet in this version: it needs kernels with a choice of configurations, which come with" +
        " the GPU backend");
}
