// Programs of the user: compiled at run time, found in the cache, launched with arguments of every kind, refused with words.
using System;
using System.Collections.Generic;
using System.Linq;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class NvrtcTests : GpuTest
{
    private const string Source = """
        #include "pair.h"
        extern "C" __global__ void scale(float* x, float factor, Pair pair, int n, double shift) {
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) x[i] = x[i] * factor + pair.a + pair.b[2] + static_cast<float>(shift);
        }
        template <int N> __global__ void add(int* x) { *x += N; }
        """;

    private static readonly CompileOptions Options = new()
    {
        SourceName = "scale.cu",
        Options = ["--std=c++17"],
        Headers = new Dictionary<string, string> { ["pair.h"] = "struct Pair { float a; float b[4]; };" },
        Expressions = ["add<3>"],
    };

    [OneTimeSetUp]
    public void FindCompiler()
    {
        if (!NvrtcCompiler.IsAvailable)
        {
            Assert.Ignore($"there is no NVRTC: {NativeRuntime.Probe().Cuda?.Nvrtc}");
        }
    }

    [Test]
    public void A_kernel_is_compiled_and_launched()
    {
        using CompiledProgram program = NvrtcCompiler.Compile(Device, Source, Options);
        Assert.That(program.Target, Does.StartWith("sm_"));
        Assert.That(program.Ptx, Does.Contain(".visible .entry scale("));
        Assert.That(program.MachineCode.Length, Is.Positive);
        Assert.That(program.CompilerVersion, Is.EqualTo(NativeRuntime.Probe().Cuda!.NvrtcVersion));
        using CompiledKernel kernel = program.GetKernel("scale");
        Assert.That(kernel.MaxThreadsPerBlock, Is.InRange(32, 1024));
        Assert.That(kernel.NumParameters, Is.EqualTo(5));
        using CudaStream stream = Device.CreateStream();
        using DeviceBuffer<float> x = Device.Upload<float>([.. Enumerable.Range(0, 100).Select(i => (float)i)]);
        var pair = new Pair(1, 0, 0, 10, 0);
        kernel.Launch(stream, new LaunchSize(2, 64), x, 2f, KernelArgument.Of(pair), 90, 100.0);
        float[] found = x.ToArray(stream);
        Assert.That(found[..90], Is.EqualTo(Enumerable.Range(0, 90).Select(i => (2f * i) + 111)));
        Assert.That(found[90..], Is.EqualTo(Enumerable.Range(90, 10).Select(i => (float)i)));

        using CompiledKernel instance = program.GetKernel("add<3>");
        using DeviceBuffer<int> number = Device.Upload<int>([4]);
        instance.Launch(stream, new LaunchSize(1, 1), number);
        Assert.That(number.ToArray(stream), Is.EqualTo(new[] { 7 }));
    }

    [Test]
    public void What_was_compiled_is_found_in_the_cache()
    {
        string mark = $"// {Guid.NewGuid()}\n";
        CompileOptions uncached = Options with { UseCache = false };
        using (CompiledProgram first = NvrtcCompiler.Compile(Device, mark + Source, uncached))
        {
            Assert.That(first.IsFromCache, Is.False);
        }

        using (CompiledProgram second = NvrtcCompiler.Compile(Device, mark + Source, Options))
        {
            Assert.That(second.IsFromCache, Is.False, "the first one was not kept");
        }

        bool hasCache = !NativeRuntime.Probe().Cuda!.Cache.Contains("off", StringComparison.Ordinal);
        using CompiledProgram third = NvrtcCompiler.Compile(Device, mark + Source, Options);
        Assert.That(third.IsFromCache, Is.EqualTo(hasCache));
    }

    [Test]
    public void A_wrong_program_comes_back_with_everything_the_compiler_said()
    {
        string wrong = "#include \"pair.h\"\n" + string.Concat(Enumerable.Repeat("nonsense here;\n", 20));
        var error = Assert.Throws<AttentionException>(() => NvrtcCompiler.Compile(Device, wrong, Options));
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.InvalidArgument));
        Assert.That(error.NativeText, Does.Contain("compiling scale.cu for sm_"));
        Assert.That(error.CompilerLog, Does.Contain("scale.cu(2)").And.Contain("scale.cu(21)"));
        Assert.That(error.CompilerLog!.Length, Is.GreaterThan(error.NativeText.Length));
        Assert.That(
            () => NvrtcCompiler.Compile(Device, Source, Options with { Options = ["--no-such-option"] }),
            Throws.TypeOf<AttentionException>());
    }

    [Test]
    public void Launches_are_checked_before_they_are_queued()
    {
        using CompiledProgram program = NvrtcCompiler.Compile(Device, Source, Options);
        Assert.That(
            () => program.GetKernel("nobody"),
            Throws.TypeOf<AttentionException>().With.Message.Contains("has no kernel named nobody"));
        using CompiledKernel kernel = program.GetKernel("add<3>");
        using CudaStream stream = Device.CreateStream();
        using DeviceBuffer<int> number = Device.Upload<int>([4]);
        Assert.That(
            () => kernel.Launch(stream, new LaunchSize(1, 1), number, 5),
            Throws.TypeOf<AttentionException>().With.Message.Contains("2 arguments were given of 8, 4 bytes"));
        Assert.That(
            () => kernel.Launch(stream, new LaunchSize(1, 1), 5),
            Throws.TypeOf<AttentionException>().With.Message.Contains("takes 1: 8 bytes"));
        Assert.That(() => kernel.Launch(stream, new LaunchSize(0, 1), number), Throws.ArgumentException);
        Assert.That(
            () => kernel.Launch(stream, new LaunchSize(1, 2048), number),
            Throws.TypeOf<AttentionException>().With.Message.Contains("args->block is 2048 x 1 x 1 threads"));
        Assert.That(
            () => kernel.Launch(stream, new LaunchSize(1, 1, 1 << 20), number),
            Throws.TypeOf<AttentionException>().With.Message.Contains("of dynamic shared memory"));
        number.Dispose();
        Assert.That(
            () => kernel.Launch(stream, new LaunchSize(1, 1), number), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void Kernels_outlive_their_program_and_a_fault_is_told_by_later_calls()
    {
        const string Faulty = """
            extern "C" __global__ void write_far(int* x) { x[1 << 30] = 1; }
            """;
        CudaDevice device = OpenOther(3);
        CompiledKernel kernel;
        using (CompiledProgram program = NvrtcCompiler.Compile(device, Faulty))
        {
            kernel = program.GetKernel("write_far");
        }

        CudaStream stream = device.CreateStream();
        DeviceBuffer<int> buffer = device.Upload<int>([1]);
        kernel.Launch(stream, new LaunchSize(1, 1), buffer);
        var error = Assert.Throws<AttentionException>(stream.Synchronize);
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.DeviceFault));
        Assert.That(error.NativeText, Does.Contain("this reports the fault of a kernel that ran earlier"));
        Assert.That(() => buffer.ToArray(), Throws.TypeOf<AttentionException>());
        IDisposable[] all = [kernel, stream, buffer, device];
        foreach (IDisposable one in all)
        {
            Assert.That(one.Dispose, Throws.Nothing);
        }
    }

    private readonly record struct Pair(float A, float B0, float B1, float B2, float B3);
}
