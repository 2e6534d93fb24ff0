// The tensors of a dense problem, found in a file and checked against each other; made by the dense family.
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal sealed class DenseInputs : FamilyInputs
{
    /// <exception cref="BadInputException">A tensor does not fit the others.</exception>
    internal DenseInputs(DenseProblem problem, TensorSet tensors)
        : base(problem, tensors)
    {
        Problem = problem;
        Bias = tensors.Find("bias");
        AlibiSlopes = tensors.Find("alibi_slopes");
        SinkLogits = tensors.Find("sink_logits");
        CuSeqlensQ = tensors.Find("cu_seqlens_q");
        CuSeqlensK = tensors.Find("cu_seqlens_k");
        RequireOneType();
        RequireFloats(Bias, AlibiSlopes, SinkLogits, LseGradient);
        RequireIndices(CuSeqlensQ, CuSeqlensK);
        RequireShape(AlibiSlopes, [Shape.QueryHeads], "[Hq]");
        RequireShape(SinkLogits, [Shape.QueryHeads], "[Hq]");
        CheckBias();
        CheckPacked();
        CheckGradients();
    }

    internal DenseProblem Problem { get; }

    internal TensorEntry? Bias { get; }

    internal TensorEntry? AlibiSlopes { get; }

    internal TensorEntry? SinkLogits { get; }

    internal TensorEntry? CuSeqlensQ { get; }

    internal TensorEntry? CuSeqlensK { get; }

    internal override FamilyRun<T> MakeRun<T>() => new DenseRun<T>(this);

    private void CheckBias()
    {
        if (Bias is not { } bias)
        {
            return;
        }

        bool fits = bias.Shape.Length == 4
            && (bias.Shape[0] == 1 || bias.Shape[0] == Shape.Batch)
            && (bias.Shape[1] == 1 || bias.Shape[1] == Shape.QueryHeads)
            && bias.Shape[2] == Shape.QueryLength
            && bias.Shape[3] == Shape.KeyLength;
        string heads = $"{Shape.Batch} or 1, {Shape.QueryHeads} or 1";
        Require(fits, bias, $"[{heads}, {Shape.QueryLength}, {Shape.KeyLength}]");
    }

    private void CheckPacked()
    {
        if (CuSeqlensQ is null != CuSeqlensK is null)
        {
            throw new BadInputException(
                "packed sequences need both cu_seqlens_q and cu_seqlens_k; one of them is absent");
        }

        if (CuSeqlensQ is not { } queries || CuSeqlensK is not { } keys)
        {
            return;
        }

        if (Bias is not null)
        {
            throw new BadInputException(
                "bias and cu_seqlens_q are both given; packed sequences have no bias," +
                " use alibi_slopes or one run each");
        }

        Require(Shape.Batch == 1, Q, "B = 1, as cu_seqlens_q says that sequences are packed");
        Require(queries.Shape.Length == 1 && queries.NumElements >= 2, queries, "[n + 1] for n >= 1 sequences");
        RequireShape(keys, queries.Shape, "the shape of cu_seqlens_q");
    }
}
