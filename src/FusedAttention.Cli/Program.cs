// Entry point of the fattn tool.
using System;
using FusedAttention.Cli;

return FattnCommand.Run(args, new ToolOutput(Console.Out, Console.Error));
