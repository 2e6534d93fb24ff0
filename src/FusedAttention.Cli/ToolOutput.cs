// Where a verb writes: results to one stream, remarks and errors to the other. Tests give their own.
using System;
using System.IO;
using Spectre.Console;

namespace FusedAttention.Cli;

internal sealed class ToolOutput
{
    private const int PlainWidth = 200;

    internal ToolOutput(TextWriter results, TextWriter remarks)
    {
        Results = results;
        Remarks = remarks;
        ResultConsole = MakeConsole(results, ReferenceEquals(results, Console.Out) && !Console.IsOutputRedirected);
        RemarkConsole = MakeConsole(remarks, ReferenceEquals(remarks, Console.Error) && !Console.IsErrorRedirected);
    }

    /// <summary>Standard output: what was asked for.</summary>
    internal TextWriter Results { get; }

    /// <summary>Standard error: one-line errors, and remarks such as the device in use.</summary>
    internal TextWriter Remarks { get; }

    /// <summary>Tables on standard output.</summary>
    internal IAnsiConsole ResultConsole { get; }

    /// <summary>Progress bars on standard error.</summary>
    internal IAnsiConsole RemarkConsole { get; }

    private static IAnsiConsole MakeConsole(TextWriter writer, bool isTerminal)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            Interactive = isTerminal ? InteractionSupport.Detect : InteractionSupport.No,
        });
        if (!isTerminal)
        {
            console.Profile.Width = PlainWidth;
        }

        return console;
    }
}
