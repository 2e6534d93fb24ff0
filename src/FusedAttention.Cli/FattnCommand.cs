// The command line of the fattn tool: parses it, runs the verb, turns every failure into one line and an exit code.
using System;
using System.CommandLine;
using System.CommandLine.Invocation;
using FusedAttention.Cli.Verbs;

namespace FusedAttention.Cli;

internal static class FattnCommand
{
    /// <summary>Runs one command line in this process.</summary>
    /// <returns>A value of <see cref="ExitCode"/>.</returns>
    internal static int Run(string[] args, ToolOutput output)
    {
        try
        {
            ParseResult command = MakeRoot(output).Parse(args);
            if (command.Action is ParseErrorAction)
            {
                throw new BadInputException($"{FirstError(command)} (fattn --help shows what is allowed)");
            }

            return command.Invoke(new InvocationConfiguration
            {
                Output = output.Results,
                Error = output.Remarks,
                EnableDefaultExceptionHandler = false,
            });
        }
        catch (Exception error)
        {
            (int code, string message) = Explain(error);
            output.Remarks.WriteLine($"fattn: {message.ReplaceLineEndings(" ")}");
            return code;
        }
    }

    private static RootCommand MakeRoot(ToolOutput output)
    {
        RootCommand root = new("""
            Exact fused attention on this machine: runs problems, measures, draws and explains.

            A first look:     fattn demo
            Run a problem:    fattn run problem.json --input in.safetensors --output out.safetensors
            A problem file:   {"family": "dense", "causal": true}
            A tensor file:    safetensors with q [B,Hq,Lq,D], k [B,Hk,Lk,D], v [B,Hv,Lk,Dv]

            Exit codes: 0 done; 1 failure; 2 wrong input, in one line; 3 not supported here, with the reason.
            """)
        {
            RunVerb.Make(output),
            InfoVerb.Make(output),
            DemoVerb.Make(output),
            BenchVerb.Make(output),
            TuneVerb.Make(),
            DoctorVerb.Make(output),
            DenoiseVerb.Make(output),
            DrawVerb.Make(output),
        };
        return root;
    }

    private static string FirstError(ParseResult command)
    {
        if (command.UnmatchedTokens.Count > 0)
        {
            return $"{StrictJson.Quote(command.UnmatchedTokens[0])} is neither a verb nor an option here";
        }

        string text = command.Errors[0].Message;
        return char.ToLowerInvariant(text[0]) + text[1..].TrimEnd('.');
    }

    private static (int Code, string Message) Explain(Exception error) => error switch
    {
        BadInputException => (ExitCode.BadInput, error.Message),
        UnsupportedException => (ExitCode.NotSupported, error.Message),
        AttentionException { Status: AttentionStatus.InvalidArgument } native => (ExitCode.BadInput, native.NativeText),
        AttentionException { Status: AttentionStatus.Unsupported or AttentionStatus.DeviceUnavailable } native =>
            (ExitCode.NotSupported, native.NativeText),
        AttentionException or NativeLibraryLoadException => (ExitCode.Failure, error.Message),
        OutOfMemoryException => (ExitCode.Failure, "there is not enough memory for this problem"),
        _ => (ExitCode.Failure, $"{error.Message} ({error.GetType().Name})"),
    };
}
