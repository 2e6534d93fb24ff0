// Devices: what they say about themselves, choosing an instruction set, lifetime.
using System;
using System.Linq;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class AttentionDeviceTests
{
    [Test]
    public void The_cpu_describes_itself()
    {
        DeviceDescription cpu = AttentionDevice.Cpu.Describe();
        Assert.That(cpu.Kind, Is.EqualTo(DeviceKind.Cpu));
        Assert.That(cpu.Name, Is.Not.Empty);
        Assert.That(cpu.Reason, Is.Not.Empty);
        Assert.That(cpu.Threads, Is.Positive);
        Assert.That(cpu.AvailableTargets, Does.Contain(cpu.Target).And.Contain(CpuTarget.Scalar));
        Assert.That(cpu.BuiltTargets, Is.SupersetOf(cpu.AvailableTargets));
    }

    [Test]
    public void Every_available_target_runs_as_itself_and_agrees_with_the_definition()
    {
        DenseCase problem = DenseCase.Create<float>(
            new AttentionShape(1, 2, 70, 32), new DenseOptions { Causal = true });
        DenseResult truth = DenseTruth.Compute(problem);
        foreach (CpuTarget target in AttentionDevice.Cpu.Describe().AvailableTargets)
        {
            using AttentionDevice device = AttentionDevice.Open(target, threads: 2);
            Assert.That(device.Describe().Target, Is.EqualTo(target));
            Assert.That(device.Describe().Threads, Is.EqualTo(2));
            Expect.Same<float>(problem.Forward<float>(device), truth);
        }
    }

    [Test]
    public void A_target_that_is_not_available_is_refused_by_name()
    {
        CpuTarget missing = Enum.GetValues<CpuTarget>().Skip(1)
            .First(t => !AttentionDevice.Cpu.Describe().AvailableTargets.Contains(t));
        var error = Assert.Throws<AttentionException>(() => AttentionDevice.Open(missing));
        Assert.That(error!.Status, Is.Not.EqualTo(AttentionStatus.Ok));
        Assert.That(error.Operation, Is.EqualTo("AttentionDevice.Open"));
        Assert.That(error.Message, Does.Contain(error.NativeText).And.Contain(error.Operation));
        Assert.That(error.NativeText, Is.Not.Empty);
    }

    [Test]
    public void A_number_that_is_no_target_is_refused() =>
        Assert.That(() => AttentionDevice.Open((CpuTarget)77), Throws.TypeOf<AttentionException>());

    [Test]
    public void A_negative_number_of_threads_is_refused() =>
        Assert.That(
            () => AttentionDevice.Open(CpuTarget.Best, -1), Throws.TypeOf<ArgumentOutOfRangeException>());

    [Test]
    public void The_best_device_is_explained()
    {
        AttentionDevice best = AttentionDevice.ChooseBest(out string explanation);
        Assert.That(best, Is.SameAs(AttentionDevice.Best));
        Assert.That(explanation, Does.StartWith("CPU (").And.Contain("CUDA: "));
    }

    [Test]
    public void Disposing_the_shared_cpu_does_nothing()
    {
        AttentionDevice.Cpu.Dispose();
        Assert.That(AttentionDevice.Cpu.Describe().Name, Is.Not.Empty);
    }

    [Test]
    public void A_disposed_device_throws_and_may_be_disposed_again()
    {
        AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        device.Dispose();
        device.Dispose();
        Assert.That(() => device.Describe(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(device.Trim, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(
            () => new DenseAttentionPlan<float>(new AttentionShape(1, 1, 4, 4), null, device),
            Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void Idle_workspace_can_be_returned_between_runs()
    {
        using AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        DenseCase problem = DenseCase.Create<float>(new AttentionShape(1, 2, 40, 16));
        DenseResult before = problem.Forward<float>(device);
        device.Trim();
        Assert.That(problem.Forward<float>(device).Output, Is.EqualTo(before.Output));
    }

    [Test]
    public void Peaks_are_measured([Values] PeakKind kind) =>
        Assert.That(AttentionDevice.Cpu.MeasurePeak(kind, threads: 1, seconds: 0.01), Is.GreaterThan(0.01));

    [TestCase(-1, 0.1)]
    [TestCase(1, 0)]
    public void Peaks_need_sensible_arguments(int threads, double seconds) =>
        Assert.That(
            () => AttentionDevice.Cpu.MeasurePeak(PeakKind.Float32, threads, seconds),
            Throws.TypeOf<ArgumentOutOfRangeException>());

    [Test]
    public void What_is_above_its_limit_is_refused_by_the_library()
    {
        Assert.That(
            () => AttentionDevice.Open(CpuTarget.Best, 1025),
            Throws.TypeOf<AttentionException>().With.Message.Contains("is 1025; allowed are 0 to 1024"));
        Assert.That(
            () => AttentionDevice.Cpu.MeasurePeak(PeakKind.Float32, threads: 1025),
            Throws.TypeOf<AttentionException>().With.Message.Contains("is 1025; allowed are 0 to 1024"));
        Assert.That(
            () => AttentionDevice.Cpu.MeasurePeak(PeakKind.Float32, seconds: 61),
            Throws.TypeOf<AttentionException>().With.Message.Contains("seconds is 61"));
    }
}
