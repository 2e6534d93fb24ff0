// Linear attention through the public types: results, states, steps, misuse.
using System;
using System.Threading;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class LightningAttentionTests
{
    private static readonly AttentionShape Shape = AttentionShape.Gqa(2, 4, 2, 130, 12) with { ValueHeadDim = 20 };

    private static readonly LightningOptions Everything = new() { InitialState = true, Backward = true };

    [Test]
    public void Forward_and_backward_in_float_are_what_the_definition_says() => Compare<float>();

    [Test]
    public void Forward_and_backward_in_half_are_what_the_definition_says() => Compare<Half>();

    [Test]
    public void Forward_and_backward_in_bfloat16_are_what_the_definition_says() => Compare<BFloat16>();

    [Test]
    public void Steps_share_their_state_with_a_prefill()
    {
        LightningCase problem = LightningCase.Create<float>(Shape with { Batch = 1 });
        AttentionShape shape = problem.Shape;
        using var prefill = new LightningAttentionPlan<float>(shape);
        float[] output = new float[problem.GradOutput.Length];
        float[] finalState = new float[prefill.StateLength];
        prefill.Forward(problem.Query, problem.Key, problem.Value, problem.Slopes, output, finalState);

        using var step = new LightningAttentionPlan<float>(shape with { QueryLength = 1, KeyLength = 1 });
        float[] state = new float[step.StateLength], row = new float[4 * 20];
        double[] rows = new double[output.Length];
        for (int t = 0; t < shape.QueryLength; ++t)
        {
            step.Step(
                Token(problem.Query, 4, t), Token(problem.Key, 2, t), Token(problem.Value, 2, t), problem.Slopes,
                state, row);
            for (int h = 0; h < 4; ++h)
            {
                for (int j = 0; j < 20; ++j)
                {
                    rows[(((h * shape.QueryLength) + t) * 20) + j] = row[(h * 20) + j];
                }
            }
        }

        Expect.Near("output", rows, Numbers.ToDouble<float>(output), Expect.Tolerance<float>());
        Expect.Near(
            "state", Numbers.ToDouble<float>(state), Numbers.ToDouble<float>(finalState), Expect.Tolerance<float>());
    }

    [Test]
    public void States_have_the_rows_and_columns_of_the_options()
    {
        using var plain = new LightningAttentionPlan<float>(Shape);
        Assert.That((plain.StateRows, plain.StateColumns), Is.EqualTo((12L, 20L)));
        Assert.That(plain.StateLength, Is.EqualTo(2 * 4 * 12 * 20));
        using var taylor = new LightningAttentionPlan<float>(
            Shape, new LightningOptions { FeatureMap = FeatureMap.Taylor2, Normalize = true });
        Assert.That((taylor.StateRows, taylor.StateColumns), Is.EqualTo((1L + 12 + 78, 21L)));
    }

    [Test]
    public void Normalised_rows_are_means_of_values(
        [Values(FeatureMap.EluPlusOne, FeatureMap.Softmax, FeatureMap.Taylor2)] FeatureMap map, [Values] bool causal)
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        Array.Fill(problem.Value, 2.5f);
        float[] output = new float[problem.GradOutput.Length];
        LightningAttention.Forward<float>(
            problem.Query, problem.Key, problem.Value, problem.Slopes, output, Shape,
            new LightningOptions { FeatureMap = map, Normalize = true, Causal = causal });
        Assert.That(output, Is.All.EqualTo(2.5f).Within(2e-5f));
    }

    [Test]
    public void The_static_methods_do_what_a_plan_does()
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        float[] expected = new float[problem.GradOutput.Length], found = new float[expected.Length];
        using var plan = new LightningAttentionPlan<float>(Shape);
        plan.Forward(problem.Query, problem.Key, problem.Value, problem.Slopes, expected);
        LightningAttention.Forward<float>(problem.Query, problem.Key, problem.Value, problem.Slopes, found, Shape);
        Assert.That(found, Is.EqualTo(expected));

        float[] gradient = new float[problem.Query.Length], again = new float[problem.Query.Length];
        using var training = new LightningAttentionPlan<float>(Shape, new LightningOptions { Backward = true });
        training.Backward(Gradients(problem, gradient));
        LightningAttention.Backward(Gradients(problem, again), Shape);
        Assert.That(again, Is.EqualTo(gradient));
    }

    [Test]
    public void A_plan_describes_itself_and_has_no_schedule()
    {
        using var plan = new LightningAttentionPlan<BFloat16>(Shape);
        Assert.That(plan.Describe().ForwardFlops, Is.GreaterThan(0));
        Assert.That(
            () => plan.GetScheduleStats(),
            Throws.TypeOf<AttentionException>()
                .With.Property(nameof(AttentionException.Status)).EqualTo(AttentionStatus.Unsupported));
    }

    [Test]
    public void Tensors_that_do_not_fit_are_argument_errors()
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        float[] output = new float[problem.GradOutput.Length];
        using var plan = new LightningAttentionPlan<float>(Shape);
        Assert.That(
            () => plan.Forward(problem.Query, problem.Key, problem.Value, new float[3], output),
            Throws.ArgumentException.With.Message.StartsWith("slopes has 3 elements; the plan expects 4"));
        Assert.That(
            () => plan.Forward(problem.Query, problem.Key, problem.Value, problem.Slopes, output, new float[5]),
            Throws.ArgumentException.With.Message.StartsWith("finalState has 5 elements"));
        Assert.That(
            () => plan.Forward(
                new LightningForwardArguments<float>
                {
                    Query = problem.Query,
                    Key = problem.Key,
                    Value = problem.Value,
                    Slopes = problem.Slopes,
                    Output = output,
                    InitialState = problem.InitialState,
                }),
            Throws.ArgumentException.With.Message.StartsWith(
                "initialState was given, but the plan was made without InitialState."));
        Assert.That(
            () => plan.Backward(Gradients(problem, new float[problem.Query.Length])),
            Throws.InvalidOperationException.With.Message.EqualTo(
                "LightningAttentionPlan.Backward was called on a plan made without Backward."));
    }

    [Test]
    public void Negative_slopes_are_refused_by_the_library()
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        float[] output = new float[problem.GradOutput.Length];
        using var plan = new LightningAttentionPlan<float>(Shape);
        Assert.That(
            () => plan.Forward(problem.Query, problem.Key, problem.Value, new float[] { 0, -1, 0, 0 }, output),
            Throws.TypeOf<AttentionException>().With.Message.Contains(
                "args->slopes[1] is -1; it must be finite and at least 0"));
    }

    [Test]
    public void A_step_needs_a_plan_of_one_token()
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        float[] output = new float[problem.GradOutput.Length];
        using var plan = new LightningAttentionPlan<float>(Shape);
        float[] state = new float[plan.StateLength];
        Assert.That(
            () => plan.Step(problem.Query, problem.Key, problem.Value, problem.Slopes, state, output),
            Throws.TypeOf<AttentionException>().With.Message.Contains("the plan has 130 tokens, a step takes 1"));
    }

    [Test]
    public void What_is_not_supported_has_a_reason()
    {
        var options = new LightningOptions { FeatureMap = FeatureMap.Taylor2 };
        Assert.That(
            LightningAttention.IsSupported<float>(new AttentionShape(1, 1, 4, 200), options, out string reason),
            Is.False);
        Assert.That(reason, Does.Contain("allowed are 1 to 128"));
        Assert.That(LightningAttention.IsSupported<float>(Shape, null, out reason), Is.True);
        Assert.That(reason, Is.Empty);
    }

    [Test]
    public void A_cancelled_token_ends_a_run()
    {
        LightningCase problem = LightningCase.Create<float>(Shape);
        float[] output = new float[problem.GradOutput.Length];
        using var plan = new LightningAttentionPlan<float>(Shape);
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.That(
            () => plan.Forward(
                problem.Query, problem.Key, problem.Value, problem.Slopes, output, cancellationToken: source.Token),
            Throws.InstanceOf<OperationCanceledException>());
    }

    private static void Compare<T>()
        where T : unmanaged
    {
        LightningCase problem = LightningCase.Create<T>(Shape);
        LightningResult truth = problem.Truth();
        using var plan = new LightningAttentionPlan<T>(Shape, Everything);
        T[] output = new T[problem.GradOutput.Length], gradQuery = new T[problem.Query.Length];
        T[] gradKey = new T[problem.Key.Length], gradValue = new T[problem.Value.Length];
        float[] finalState = new float[problem.InitialState.Length], gradInitial = new float[finalState.Length];
        plan.Forward(new LightningForwardArguments<T>
        {
            Query = Numbers.From<T>(problem.Query),
            Key = Numbers.From<T>(problem.Key),
            Value = Numbers.From<T>(problem.Value),
            Slopes = problem.Slopes,
            InitialState = problem.InitialState,
            Output = output,
            FinalState = finalState,
        });
        plan.Backward(new LightningBackwardArguments<T>
        {
            Query = Numbers.From<T>(problem.Query),
            Key = Numbers.From<T>(problem.Key),
            Value = Numbers.From<T>(problem.Value),
            Slopes = problem.Slopes,
            InitialState = problem.InitialState,
            GradOutput = Numbers.From<T>(problem.GradOutput),
            GradFinalState = problem.GradFinalState,
            GradQuery = gradQuery,
            GradKey = gradKey,
            GradValue = gradValue,
            GradInitialState = gradInitial,
        });
        double tolerance = Expect.Tolerance<T>();
        Expect.Near("output", Numbers.ToDouble<T>(output), truth.Output, tolerance);
        Expect.Near("finalState", Numbers.ToDouble<float>(finalState), truth.FinalState, tolerance);
        Expect.Near("gradQuery", Numbers.ToDouble<T>(gradQuery), truth.GradQuery, tolerance);
        Expect.Near("gradKey", Numbers.ToDouble<T>(gradKey), truth.GradKey, tolerance);
        Expect.Near("gradValue", Numbers.ToDouble<T>(gradValue), truth.GradValue, tolerance);
        Expect.Near("gradInitialState", Numbers.ToDouble<float>(gradInitial), truth.GradInitialState, tolerance);
    }

    private static LightningBackwardArguments<float> Gradients(LightningCase problem, float[] gradQuery) => new()
    {
        Query = problem.Query,
        Key = problem.Key,
        Value = problem.Value,
        Slopes = problem.Slopes,
        GradOutput = problem.GradOutput,
        GradQuery = gradQuery,
    };

    /// <summary>Token t of all heads, [H, width], of a tensor with one batch entry.</summary>
    private static float[] Token(float[] tensor, int heads, int t)
    {
        int length = (int)Shape.QueryLength, width = tensor.Length / (heads * length);
        float[] rows = new float[heads * width];
        for (int h = 0; h < heads; ++h)
        {
            tensor.AsSpan(((h * length) + t) * width, width).CopyTo(rows.AsSpan(h * width));
        }

        return rows;
    }
}
