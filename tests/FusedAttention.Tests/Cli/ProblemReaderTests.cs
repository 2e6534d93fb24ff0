// Tests of the tool's strict problem reader: every family's fields, defaults and refusals.
using System.Text;
using FusedAttention.Cli;
using FusedAttention.Cli.Families;
using FusedAttention.Cli.Problems;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class ProblemReaderTests
{
    [Test]
    public void Absent_dense_fields_take_their_defaults()
    {
        Assert.That(Read("""{"family":"dense"}"""), Is.EqualTo(new DenseProblem
        {
            Layout = AttentionLayout.HeadsFirst,
            Backward = false,
            Scale = null,
            Causal = false,
            Alignment = CausalAlignment.BottomRight,
            WindowLeft = -1,
            WindowRight = -1,
            Softcap = 0,
        }));
    }

    [Test]
    public void All_dense_fields_are_read()
    {
        string text = """
            {"family":"dense","causal":true,"causal_alignment":"top_left","window":[128,-1],"scale":0,
             "softcap":3e1,"backward":true,"layout":"bshd"}
            """;
        Assert.That(Read(text), Is.EqualTo(new DenseProblem
        {
            Layout = AttentionLayout.TokensFirst,
            Backward = true,
            Scale = 0,
            Causal = true,
            Alignment = CausalAlignment.TopLeft,
            WindowLeft = 128,
            WindowRight = -1,
            Softcap = 30,
        }));
    }

    [Test]
    public void Neighborhood_fields_default_per_axis()
    {
        NeighborhoodProblem problem = (NeighborhoodProblem)Read(
            """{"family":"neighborhood","grid":[8,9],"kernel_size":[3,4],"dilation":[2,1]}""");
        Assert.That(problem.Stride, Is.EqualTo(new long[] { 1, 1 }));
        Assert.That(problem.Dilation, Is.EqualTo(new long[] { 2, 1 }));
        Assert.That(problem.Causal, Is.EqualTo(new[] { false, false }));
    }

    [Test]
    public void Permuted_block_and_s2_fields_are_read()
    {
        PermutedBlockProblem permuted = (PermutedBlockProblem)Read("""{"family":"permuted_block","coverage":0.5}""");
        Assert.That((permuted.BlockSize, permuted.SegmentSize, permuted.Coverage, permuted.Causal),
            Is.EqualTo((128L, 256L, 0.5, true)));
        S2Problem s2 = (S2Problem)Read("""
            {"family":"s2","block_size":16,"local_blocks":2,"vertical_stride":3,"pattern_heads":"query",
             "head_offset":-1}
            """);
        Assert.That((s2.BlockSize, s2.PatternHeads, s2.HeadOffset, s2.Homogeneous),
            Is.EqualTo((16L, PatternHeads.Query, -1L, false)));
        Assert.That(Read("""{"family":"lightning","scale":1.5}""").Scale, Is.EqualTo(1.5f));
    }

    [TestCase("""{}""", "lacks the field \"family\"")]
    [TestCase("""[]""", "holds an array; expected one JSON object")]
    [TestCase("", "not strict JSON")]
    [TestCase("""{"family":"sparse"}""", "\"family\" is \"sparse\"; expected one of \"dense\"")]
    [TestCase("""{"family":1}""", "\"family\" is 1; expected one of")]
    [TestCase("""{"family":"dense","Causal":true}""",
        "field \"Causal\", which dense does not know; its fields are backward, causal")]
    [TestCase("""{"family":"dense","grid":[2]}""", "which dense does not know")]
    [TestCase("""{"family":"dense","causal":true,"causal":true}""", "twice")]
    [TestCase("""{"family":"dense","causal":true,"c\u0061usal":true}""", "twice")]
    [TestCase("""{"family":"dense","causal":1}""", "\"causal\" is 1; expected true or false")]
    [TestCase("""{"family":"dense","causal":null}""", "\"causal\" is null; expected true or false")]
    [TestCase("""{"family":"dense","causal":"true"}""", "expected true or false")]
    [TestCase("""{"family":"dense","causal_alignment":"left"}""", "expected one of \"bottom_right\", \"top_left\"")]
    [TestCase("""{"family":"dense","window":4}""", "expected an array of 2 values")]
    [TestCase("""{"family":"dense","window":[1,2,3]}""", "expected an array of 2 values")]
    [TestCase("""{"family":"dense","window":[-2,0]}""", "\"window\" is -2; expected an integer in -1..")]
    [TestCase("""{"family":"dense","window":[1.5,0]}""", "\"window\" is 1.5; expected an integer")]
    [TestCase("""{"family":"dense","window":[[1],0]}""", "where a plain value is expected")]
    [TestCase("""{"family":"dense","scale":{}}""", "where a plain value is expected")]
    [TestCase("""{"family":"dense","scale":1e400}""", "expected a finite number")]
    [TestCase("""{"family":"dense","scale":1e39}""", "32-bit float")]
    [TestCase("""{"family":"dense","scale":NaN}""", "not strict JSON")]
    [TestCase("""{"family":"dense","softcap":-1}""", "softcap")]
    [TestCase("""{"family":"dense","layout":"sbhd"}""", "expected one of \"bhsd\", \"bshd\"")]
    [TestCase("""{"family":"dense",}""", "not strict JSON")]
    [TestCase("""{"family":"dense"} //""", "not strict JSON")]
    [TestCase("""{"family":"dense"}{}""", "not strict JSON")]
    [TestCase("""{"family":"dense","causal":true""", "not strict JSON")]
    [TestCase("""{"family":"neighborhood","kernel_size":[3]}""", "lacks the field \"grid\"")]
    [TestCase("""{"family":"neighborhood","grid":[9],"kernel_size":[3,3]}""", "an array of 1 values")]
    [TestCase("""{"family":"neighborhood","grid":[9,9,9,9],"kernel_size":[3,3,3,3]}""", "an array of 1 to 3 values")]
    [TestCase("""{"family":"neighborhood","grid":[9],"kernel_size":[3],"stride":[4]}""", "at most kernel_size 3")]
    [TestCase("""{"family":"neighborhood","grid":[9],"kernel_size":[5],"dilation":[2]}""", "exceeds the grid's 9")]
    [TestCase("""{"family":"neighborhood","grid":[9],"kernel_size":[3],"causal":[0]}""", "\"causal\" is 0")]
    [TestCase("""{"family":"s2","block_size":0,"local_blocks":1,"vertical_stride":1}""", "an integer in 1..")]
    [TestCase("""{"family":"s2","block_size":16,"local_blocks":1}""", "lacks the field \"vertical_stride\"")]
    [TestCase("""{"family":"permuted_block","block_size":100}""", "expected a multiple of block_size 100")]
    [TestCase("""{"family":"permuted_block","coverage":1.5}""", "expected a number in 0..1")]
    [TestCase("""{"family":"lightning","causal":true}""", "which lightning does not know")]
    public void Faulty_problem_is_refused_with_its_reason(string text, string reason)
    {
        Assert.That(() => Read(text), Throws.TypeOf<BadInputException>().With.Message.Contains(reason)
            .And.Message.Not.Contains("\n"));
    }

    [Test]
    public void Byte_order_mark_is_refused()
    {
        Assert.That(() => Read("\uFEFF{\"family\":\"dense\"}"),
            Throws.TypeOf<BadInputException>().With.Message.Contains("byte-order mark"));
    }

    [TestCase("""{"family":"dense"}""")]
    [TestCase("""{"family":"lightning"}""")]
    [TestCase("""{"family":"neighborhood","grid":[4],"kernel_size":[3]}""")]
    [TestCase("""{"family":"s2","block_size":16,"local_blocks":2,"vertical_stride":3}""")]
    [TestCase("""{"family":"permuted_block"}""")]
    public void Families_that_are_listed_are_available(string problem) =>
        Assert.That(FamilyRegistry.Require(Read(problem)).Family, Is.EqualTo(Read(problem).Family));

    private static Problem Read(string text) => ProblemReader.Read(Encoding.UTF8.GetBytes(text), "problem.json");
}
