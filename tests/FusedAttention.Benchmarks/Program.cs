// Entry point of the benchmark program: hands the command line to BenchmarkDotNet's switcher. Benchmarks run in this
// process, which has the native library beside it, and reports go to .build/benchmarks.
using System;
using System.IO;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters.Json;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

string root = AppContext.BaseDirectory;
while (!File.Exists(Path.Combine(root, "Interop.sln")))
{
    root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException("Interop.sln is in no folder above.");
}

IConfig config = ManualConfig.Create(DefaultConfig.Instance)
    .AddJob(Job.MediumRun.WithLaunchCount(1).WithToolchain(InProcessEmitToolchain.Instance))
    .AddExporter(JsonExporter.Full)
    .WithArtifactsPath(Path.Combine(root, ".build", "benchmarks"));
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config);
