// Linear attention on a GPU over device tensors: states in and out, gradients, a step at a time.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class LightningOnGpuTests : GpuTest
{
    private static readonly AttentionShape Shape = new(1, 2, 20, 16) { ValueHeadDim = 8 };

    [Test]
    public void States_and_gradients_match_the_definition()
    {
        LightningCase problem = LightningCase.Create<Half>(Shape);
        LightningResult truth = problem.Truth();
        var options = new LightningOptions { InitialState = true, Backward = true };
        using var plan = new LightningAttentionPlan<Half>(Shape, options, Device);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<Half> query = memory.Upload<Half>(problem.Query), key = memory.Upload<Half>(problem.Key);
        DeviceBuffer<Half> value = memory.Upload<Half>(problem.Value);
        DeviceBuffer<float> slopes = memory.Copy(problem.Slopes), initial = memory.Copy(problem.InitialState);
        DeviceBuffer<Half> output = memory.Make<Half>(truth.Output.Length);
        DeviceBuffer<float> final = memory.Make<float>(plan.StateLength);
        plan.Forward(
            new LightningDeviceForwardArguments<Half>
            {
                Query = query, Key = key, Value = value, Slopes = slopes, InitialState = initial, Output = output,
                FinalState = final,
            },
            memory.Stream);
        DeviceBuffer<Half> gradQuery = memory.Make<Half>(query.Length), gradKey = memory.Make<Half>(key.Length);
        DeviceBuffer<Half> gradValue = memory.Make<Half>(value.Length);
        DeviceBuffer<float> gradInitial = memory.Make<float>(plan.StateLength);
        plan.Prepare(AttentionPass.Backward, memory.Stream);
        plan.Backward(
            new LightningDeviceBackwardArguments<Half>
            {
                Query = query, Key = key, Value = value, Slopes = slopes, InitialState = initial,
                GradOutput = memory.Upload<Half>(problem.GradOutput),
                GradFinalState = memory.Copy(problem.GradFinalState), GradQuery = gradQuery, GradKey = gradKey,
                GradValue = gradValue, GradInitialState = gradInitial,
            },
            memory.Stream);
        double tolerance = Expect.Tolerance<Half>();
        Expect.Near("output", memory.Doubles(output), truth.Output, tolerance);
        Expect.Near("finalState", memory.Doubles(final), truth.FinalState, tolerance);
        Expect.Near("gradQuery", memory.Doubles(gradQuery), truth.GradQuery, tolerance);
        Expect.Near("gradKey", memory.Doubles(gradKey), truth.GradKey, tolerance);
        Expect.Near("gradValue", memory.Doubles(gradValue), truth.GradValue, tolerance);
        Expect.Near("gradInitialState", memory.Doubles(gradInitial), truth.GradInitialState, tolerance);
    }

    [Test]
    public void Both_sides_need_a_workspace_forward_too()
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        var options = new LightningOptions { Causal = false };
        using var plan = new LightningAttentionPlan<float>(Shape, options, Device);
        using var cpu = new LightningAttentionPlan<float>(Shape, options);
        float[] expected = new float[problem.GradOutput.Length];
        cpu.Forward(problem.Query, problem.Key, problem.Value, problem.Slopes, expected);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<float> output = memory.Make<float>(expected.Length);
        var arguments = new LightningDeviceForwardArguments<float>
        {
            Query = memory.Copy(problem.Query), Key = memory.Copy(problem.Key), Value = memory.Copy(problem.Value),
            Slopes = memory.Copy(problem.Slopes), Output = output,
        };
        Assert.That(
            () => plan.Forward(in arguments, memory.Stream),
            Throws.TypeOf<AttentionException>().With.Property("Status").EqualTo(AttentionStatus.WorkspaceTooSmall));
        plan.Prepare(AttentionPass.Forward, memory.Stream);
        plan.Forward(in arguments, memory.Stream);
        Expect.Near(
            "output", memory.Doubles(output), Numbers.ToDouble<float>(expected), Expect.Tolerance<float>());
    }

    [Test]
    public void Steps_follow_each_other_over_spans_and_over_device_tensors([Values] bool onDevice)
    {
        const int Steps = 3;
        LightningCase problem = LightningCase.Create<float>(Shape with { QueryLength = Steps, KeyLength = Steps });
        LightningResult truth = problem.Truth();
        using var plan = new LightningAttentionPlan<float>(
            Shape with { QueryLength = 1, KeyLength = 1 }, null, Device);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<float> slopes = memory.Copy(problem.Slopes);
        DeviceBuffer<float> onGpu = memory.Copy(problem.InitialState);
        float[] state = [.. problem.InitialState];
        float[] output = new float[2 * 8], query = new float[2 * 16], key = new float[2 * 16], value = new float[2 * 8];
        float[] all = new float[2 * Steps * 8];
        for (int step = 0; step < Steps; ++step)
        {
            Numbers.CopyRows(problem.Query, query, Steps, step, 1, 16);
            Numbers.CopyRows(problem.Key, key, Steps, step, 1, 16);
            Numbers.CopyRows(problem.Value, value, Steps, step, 1, 8);
            if (onDevice)
            {
                DeviceBuffer<float> result = memory.Make<float>(output.Length);
                plan.Step(
                    new LightningDeviceForwardArguments<float>
                    {
                        Query = memory.Copy(query), Key = memory.Copy(key), Value = memory.Copy(value),
                        Slopes = slopes, FinalState = onGpu, Output = result,
                    },
                    memory.Stream);
                output = result.ToArray(memory.Stream);
            }
            else
            {
                plan.Step(query, key, value, problem.Slopes, state, output);
            }

            for (int head = 0; head < 2; ++head)
            {
                output.AsSpan(head * 8, 8).CopyTo(all.AsSpan(((head * Steps) + step) * 8));
            }
        }

        double tolerance = Expect.Tolerance<float>();
        Expect.Near("output", Numbers.ToDouble<float>(all), truth.Output, tolerance);
        Expect.Near(
            "state", onDevice ? memory.Doubles(onGpu) : Numbers.ToDouble<float>(state), truth.FinalState, tolerance);
    }
}
