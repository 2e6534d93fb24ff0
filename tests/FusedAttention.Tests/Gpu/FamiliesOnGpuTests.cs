// The plans of all families on a GPU over spans: the numbers of the CPU, the checks of the CPU, what is refused.
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class FamiliesOnGpuTests : GpuTest
{
    private static readonly AttentionShape Shape = new(1, 2, 20, 32);

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void Spans_give_what_the_cpu_gives(string family)
    {
        using FamilyPlan.Tensors found = Run(family, Device);
        using FamilyPlan.Tensors expected = Run(family, null);
        Assert.That(found.Permutation, Is.EqualTo(expected.Permutation));
        Assert.That(found.BlockMask, Is.EqualTo(expected.BlockMask));
        Expect.Near(
            family, Numbers.ToDouble<float>(found.Results()), Numbers.ToDouble<float>(expected.Results()),
            Expect.Tolerance<float>());
    }

    [Test]
    public void Slopes_beside_spans_are_checked()
    {
        using var plan = new LightningAttentionPlan<float>(Shape, new LightningOptions { Backward = true }, Device);
        float[] tensor = new float[2 * 20 * 32];
        Assert.That(
            () => plan.Forward(tensor, tensor, tensor, [0, -1], new float[tensor.Length]),
            Refused("slopes[1] is -1; it must be finite and at least 0"));
        Assert.That(
            () => plan.Backward(new LightningBackwardArguments<float>
            {
                Query = tensor, Key = tensor, Value = tensor, GradOutput = tensor, Slopes = [float.NaN, 0],
                GradQuery = new float[tensor.Length],
            }),
            Refused("slopes[0] is NaN"));
    }

    [Test]
    public void Selections_beside_spans_are_checked()
    {
        var options = new PermutedBlockOptions { BlockSize = 4, SegmentSize = 8 };
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, options, Device);
        float[] tensor = new float[2 * 20 * 32];
        int[] permutation = new int[2 * 20];
        Assert.That(
            () => plan.Forward(tensor, tensor, tensor, new float[tensor.Length], permutation),
            Refused("permutation of head 0 (of all entries) holds token 0 twice"));
    }

    [Test]
    public void What_has_no_kernel_is_refused_by_name()
    {
        var wide = new AttentionShape(1, 1, 4, 320);
        Assert.That(NeighborhoodAttention.IsSupported<float>(
            wide, new NeighborhoodOptions(new NeighborhoodAxis(4, 3)), out string neighborhood, Device), Is.False);
        Assert.That(S2Attention.IsSupported<float>(wide, null, out string s2, Device), Is.False);
        Assert.That(PermutedBlockAttention.IsSupported<float>(wide, null, out string blocks, Device), Is.False);
        Assert.That(LightningAttention.IsSupported<float>(wide, null, out string lightning, Device), Is.False);
        Assert.That(neighborhood, Does.Contain("head dim is 320"));
        Assert.That(s2, Is.EqualTo(neighborhood));
        Assert.That(blocks, Is.EqualTo(neighborhood));
        Assert.That(lightning, Does.Contain("head dim is 320"));
        var error = Assert.Throws<AttentionException>(() => new LightningAttentionPlan<float>(wide, null, Device));
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.Unsupported));
        Assert.That(error.NativeText, Is.EqualTo(lightning));
    }

    private static FamilyPlan.Tensors Run(string family, AttentionDevice? device)
    {
        FamilyPlan.Tensors tensors = new();
        using FamilyPlan made = FamilyPlan.Make(family, device);
        made.Forward(tensors);
        made.Backward(tensors);
        return tensors;
    }

    private static NUnit.Framework.Constraints.ContainsConstraint Refused(string words) =>
        Throws.TypeOf<AttentionException>().With.Property(nameof(AttentionException.Status))
            .EqualTo(AttentionStatus.InvalidArgument).And.Message.Contains(words);
}
