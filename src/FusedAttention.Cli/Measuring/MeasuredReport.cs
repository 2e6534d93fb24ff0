// All results of one demo or bench run, with the machine they were measured on.
using System.Collections.Generic;

namespace FusedAttention.Cli.Measuring;

/// <param name="Machine">Processor, instruction set and threads, one line.</param>
/// <param name="Date">When, UTC.</param>
/// <param name="Command">The command line that repeats the run.</param>
/// <param name="Results">In the order they were measured.</param>
internal sealed record MeasuredReport(string Machine, string Date, string Command, IReadOnlyList<CaseResult> Results);
