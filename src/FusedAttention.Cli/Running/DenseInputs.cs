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
        CheckPacked();
        if (CuSeqlensQ is null)
        {
            CheckBias(Shape.Batch, Shape.QueryLength, Shape.KeyLength);
        }

        CheckGradients();
    }

    internal DenseProblem Problem { get; }

    internal TensorEntry? Bias { get; }

    internal TensorEntry? AlibiSlopes { get; }

    internal TensorEntry? SinkLogits { get; }

    internal TensorEntry? CuSeqlensQ { get; }

    internal TensorEntry? CuSeqlensK { get; }

    internal override FamilyRun<T> MakeRun<T>() => new DenseRun<T>(this);

    /// <summary>Packed sequences share matrices of the longest lengths, which are known once those are read.</summary>
    /// <exception cref="BadInputException">The bias does not fit the sequences.</exception>
    internal void CheckPackedBias(PackedOptions packed) =>
        CheckBias(packed.Sequences, packed.MaxQueryLength, packed.MaxKeyLength);

    private void CheckBias(long entries, long queries, long keys)
    {
        if (Bias is not { } bias)
        {
            return;
        }

        bool fits = bias.Shape.Length == 4
            && (bias.Shape[0] == 1 || bias.Shape[0] == entries)
            && (bias.Shape[1] == 1 || bias.Shape[1] == Shape.QueryHeads)
            && bias.Shape[2] == queries
            && bias.Shape[3] == keys;
        Require(fits, bias, $"[{entries} or 1, {Shape.QueryHeads} or 1, {queries}, {keys}]");
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

        Require(Shape.Batch == 1, Q, "B = 1, as cu_seqlens_q says that sequences are packed");
        Require(queries.Shape.Length == 1 && queries.NumElements >= 2, queries, "[n + 1] for n >= 1 sequences");
        RequireShape(keys, queries.Shape, "the shape of cu_seqlens_q");
    }
}
