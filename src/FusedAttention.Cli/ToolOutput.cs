// Where a verb writes: results to one stream, remarks and errors to the other. Tests give their own.
using System;
using System.IO;
using Spectre.Console;

namespace FusedAttention.Cli;

internal sealed class ToolOutput
{
    private const int PlainWidth = 140;

    /// <param name="results">Where results go.</param>
    /// <param name="remarks">Where remarks go.</param>
    /// <param name="remarkConsole">Where progress is shown; null: in the remarks.</param>
    internal ToolOutput(TextWriter results, TextWriter remarks, IAnsiConsole? remarkConsole = null)
    {
        Results = results;
        Remarks = remarks;
        ResultConsole = MakeConsole(results, ReferenceEquals(results, Console.Out) && !Console.IsOutputRedirected);
        RemarkConsole = remarkConsole
            ?? MakeConsole(remarks, ReferenceEquals(remarks, Console.Error) && !Console.IsErrorRedirected);
    }

    /// <summary>Standard output: what was asked for.</summary>
    internal TextWriter Results { get; }

    /// <summary>Standard error: one-line errors, and remarks such as the device in use.</summary>
    internal TextWriter Remarks { get; }

    /// <summary>Tables on standard output.</summary>
    internal IAnsiConsole ResultConsole { get; }

    /// <summary>Progress on standard error.</summary>
    internal IAnsiConsole RemarkConsole { get; }

    /// <summary>Does work that takes a while and says what it is doing where someone looks on.</summary>
    /// <param name="work">Is given what shows a few words in place of the last ones.</param>
    internal void ShowProgress(Action<Action<string>> work)
    {
        if (RemarkConsole.Profile.Capabilities.Interactive)
        {
            RemarkConsole.Status().Start("starting", context => work(words =>
            {
                context.Status = Markup.Escape(words);
                context.Refresh();
            }));
        }
        else
        {
            work(static _ => { });
        }
    }

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
