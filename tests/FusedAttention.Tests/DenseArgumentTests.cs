// Wrong arguments: each is refused before native code runs, and the message says what is expected.
using System;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DenseArgumentTests
{
    private static readonly AttentionShape Shape = new(2, 3, 5, 8);
    private const int Elements = 2 * 3 * 5 * 8;

    private delegate void Change(ref DenseForwardArguments<float> arguments);

    [Test]
    public void Lengths_must_be_those_of_the_plan(
        [Values("query", "key", "value", "output", "lse")] string name, [Values(-1, 1)] int more)
    {
        Expect(
            new DenseOptions(), name, $"the plan expects {(name == "lse" ? 30 : Elements)}",
            (ref DenseForwardArguments<float> a) =>
            {
                float[] wrong = new float[(name == "lse" ? 30 : Elements) + more];
                switch (name)
                {
                    case "query":
                        a.Query = wrong;
                        break;
                    case "key":
                        a.Key = wrong;
                        break;
                    case "value":
                        a.Value = wrong;
                        break;
                    case "output":
                        a.Output = wrong;
                        break;
                    default:
                        a.Lse = wrong;
                        break;
                }
            });
    }

    [Test]
    public void Required_tensors_must_be_given()
    {
        Expect(new DenseOptions(), "query", "was not given", (ref DenseForwardArguments<float> a) => a.Query = default);
        Expect(
            new DenseOptions(), "output", "was not given", (ref DenseForwardArguments<float> a) => a.Output = default);
    }

    [Test]
    public void Tensors_that_were_not_announced_are_refused()
    {
        var plain = new DenseOptions();
        Expect(plain, "bias", "without Bias", (ref DenseForwardArguments<float> a) => a.Bias = new float[25]);
        Expect(plain, "mask", "without Mask", (ref DenseForwardArguments<float> a) => a.Mask = new byte[25]);
        Expect(plain, "alibiSlopes", "without Alibi", (ref DenseForwardArguments<float> a) =>
            a.AlibiSlopes = new float[3]);
        Expect(
            plain, "sinkLogits", "without Sinks", (ref DenseForwardArguments<float> a) => a.SinkLogits = new float[3]);
        Expect(plain, "keyLengths", "without KeyLengths", (ref DenseForwardArguments<float> a) =>
            a.KeyLengths = new int[2]);
        Expect(
            plain, "cumulativeQueryLengths", "without Packed",
            (ref DenseForwardArguments<float> a) => a.CumulativeQueryLengths = new int[2]);
        Expect(
            plain, "cumulativeKeyLengths", "without Packed",
            (ref DenseForwardArguments<float> a) => a.CumulativeKeyLengths = new int[2]);
        Expect(
            plain, "blockTable", "without Paging", (ref DenseForwardArguments<float> a) => a.BlockTable = new int[2]);
    }

    [Test]
    public void Tensors_that_were_announced_must_be_given()
    {
        Expect(new DenseOptions { Bias = new BiasOptions() }, "bias", "was not given");
        Expect(new DenseOptions { Mask = new MaskOptions() }, "mask", "was not given");
        Expect(new DenseOptions { Alibi = true }, "alibiSlopes", "has 0 elements; the plan expects 3");
        Expect(new DenseOptions { Sinks = true }, "sinkLogits", "has 0 elements; the plan expects 3");
        Expect(new DenseOptions { KeyLengths = true }, "keyLengths", "has 0 elements; the plan expects 2");
    }

    [Test]
    public void Masks_of_bits_are_counted_in_bytes() =>
        Expect(
            new DenseOptions { Mask = new MaskOptions { Format = MaskFormat.Bits } }, "mask", "the plan expects 4",
            (ref DenseForwardArguments<float> a) => a.Mask = new byte[25]);

    [Test]
    public void Element_types_must_be_those_of_the_plan()
    {
        using var plan = new DenseAttentionPlan<Half>(Shape);
        var error = Assert.Throws<ArgumentException>(() => plan.Forward(
            new Half[Elements], new Half[Elements], new Half[Elements], TensorOut<Half>.Float32(new float[Elements])));
        Assert.That(error!.Message, Does.Contain("elements of type Float32; the plan expects Float16"));
    }

    [Test]
    public void Unsupported_element_types_are_named()
    {
        Assert.That(
            () => new DenseAttentionPlan<double>(Shape),
            Throws.TypeOf<NotSupportedException>().With.Message.Contains("System.Double").And.Message.Contains(
                "BFloat16"));
        Assert.That(() => new DenseAttentionPlan<int>(Shape), Throws.TypeOf<NotSupportedException>());
    }

    [Test]
    public void Native_refusals_carry_status_operation_and_text()
    {
        var error = Assert.Throws<AttentionException>(
            () => new DenseAttentionPlan<float>(Shape with { KeyHeads = 4, ValueHeads = 4 }));
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.InvalidArgument));
        Assert.That(error.Operation, Is.EqualTo("DenseAttentionPlan"));
        Assert.That(error.NativeText, Does.Contain("4").And.Contain("3"));
    }

    [Test]
    public void Overlapping_outputs_are_refused_by_the_native_library()
    {
        using var plan = new DenseAttentionPlan<float>(Shape);
        float[] query = new float[Elements], key = new float[Elements], value = new float[Elements];
        var error = Assert.Throws<AttentionException>(() => plan.Forward(query, key, value, query));
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.InvalidArgument));
        Assert.That(error.NativeText, Does.Contain("overlap"));
    }

    [Test]
    public void Bad_index_contents_are_refused_before_anything_is_written()
    {
        using var plan = new DenseAttentionPlan<float>(Shape, new DenseOptions { KeyLengths = true });
        float[] output = new float[Elements];
        Array.Fill(output, 7);
        var error = Assert.Throws<AttentionException>(() => plan.Forward(new DenseForwardArguments<float>
        {
            Query = new float[Elements],
            Key = new float[Elements],
            Value = new float[Elements],
            Output = output,
            KeyLengths = [5, 6],
        }));
        Assert.That(error!.NativeText, Does.Contain("kv_len").And.Contain("6"));
        Assert.That(output, Is.All.EqualTo(7));
    }

    [Test]
    public void Negative_threads_are_refused()
    {
        using var plan = new DenseAttentionPlan<float>(Shape);
        Assert.That(
            () => plan.Forward(new DenseForwardArguments<float>
            {
                Query = new float[Elements],
                Key = new float[Elements],
                Value = new float[Elements],
                Output = new float[Elements],
                MaxThreads = -1,
            }),
            Throws.TypeOf<AttentionException>().With.Message.Contains("max_threads"));
    }

    [Test]
    public void Pages_must_fit_the_shape()
    {
        var options = new DenseOptions { KeyLengths = true, Paging = new PagingOptions(4, 16, 3) };
        Assert.That(
            () => new DenseAttentionPlan<float>(AttentionShape.Decode(1, 2, 2, 50, 8), options),
            Throws.ArgumentException.With.Message.Contains("KeyLength is 50").And.Message.Contains("48"));
        AttentionShape strided = AttentionShape.Decode(1, 2, 2, 48, 8) with
        {
            KeyStrides = new TensorStrides(Batch: 300, Head: 128, Token: 8),
        };
        using var plan = new DenseAttentionPlan<float>(strided, options);
        Assert.That(
            () => plan.Forward(new DenseForwardArguments<float>
            {
                Query = new float[16],
                Key = new float[3 * 256],
                Value = new float[4 * 256],
                Output = new float[16],
                KeyLengths = [1],
                BlockTable = new int[3],
            }),
            Throws.ArgumentException.With.Message.Contains(
                "key has 768 elements; the plan expects at least 1156 for extents [4, 16, 2, 8] with strides"
                + " [300, 8, 128, 1]"));
    }

    [Test]
    public void Extents_beyond_any_memory_are_refused() =>
        Assert.That(
            () => new DenseAttentionPlan<float>(new AttentionShape(1L << 40, 1L << 20, 1L << 20, 64)),
            Throws.TypeOf<AttentionException>().Or.InstanceOf<ArgumentException>());

    [Test]
    public void Negative_extents_are_refused_by_name() =>
        Assert.That(
            () => new DenseAttentionPlan<float>(new AttentionShape(1, 1, -4, 8)),
            Throws.TypeOf<AttentionException>().With.Message.Contains("-4"));

    [Test]
    public void A_missing_shape_is_refused()
    {
        Assert.That(() => new DenseAttentionPlan<float>(null!), Throws.ArgumentNullException);
        Assert.That(
            () => DenseAttention.Forward<float>(new float[1], new float[1], new float[1], new float[1], null!),
            Throws.ArgumentNullException);
    }

    [Test]
    public void Support_can_be_asked_without_an_exception()
    {
        Assert.That(DenseAttention.IsSupported<float>(Shape, null, out string reason));
        Assert.That(reason, Is.Empty);
        Assert.That(
            DenseAttention.IsSupported<float>(Shape, new DenseOptions { SoftCap = -1 }, out reason), Is.False);
        Assert.That(reason, Does.Contain("softcap"));
    }

    private static void Expect(DenseOptions options, string parameter, string text, Change? change = null)
    {
        using var plan = new DenseAttentionPlan<float>(Shape, options);
        var error = Assert.Throws<ArgumentException>(() =>
        {
            var arguments = new DenseForwardArguments<float>
            {
                Query = new float[Elements],
                Key = new float[Elements],
                Value = new float[Elements],
                Output = new float[Elements],
            };
            change?.Invoke(ref arguments);
            plan.Forward(in arguments);
        });
        Assert.That(error!.ParamName, Is.EqualTo(parameter));
        Assert.That(error.Message, Does.Contain(text));
    }
}
