// The tensors of a permuted block-sparse problem, found in a file and checked against each other; made by its family.
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal sealed class PermutedBlockInputs : FamilyInputs
{
    /// <exception cref="BadInputException">A tensor does not fit the others.</exception>
    internal PermutedBlockInputs(PermutedBlockProblem problem, TensorSet tensors)
        : base(problem, tensors)
    {
        Problem = problem;
        Permutation = tensors.Find("permutation");
        BlockMask = tensors.Find("block_mask");
        RequireOneType();
        RequireFloats(LseGradient);
        RequireIndices(Permutation);
        CheckLengths();
        CheckSelection();
        CheckGradients();
    }

    internal PermutedBlockProblem Problem { get; }

    /// <summary>The token of each slot, [B, Hq, Lk]; given together with <see cref="BlockMask"/> or not at all.</summary>
    internal TensorEntry? Permutation { get; }

    /// <summary>Kept blocks, [B, Hq, nQ, nK].</summary>
    internal TensorEntry? BlockMask { get; }

    internal long[] PermutationShape => [Shape.Batch, Shape.QueryHeads, Shape.KeyLength];

    internal long[] MaskShape => [Shape.Batch, Shape.QueryHeads, Blocks(Shape.QueryLength), Blocks(Shape.KeyLength)];

    internal override FamilyRun<T> MakeRun<T>() => new PermutedBlockRun<T>(this);

    private long Blocks(long tokens) => (tokens + Problem.BlockSize - 1) / Problem.BlockSize;

    private void CheckLengths()
    {
        long before = Shape.KeyLength - Shape.QueryLength;
        Require(before >= 0, Q, $"at most Lk = {Shape.KeyLength} queries, the last positions of k");
        Require(
            before % Problem.BlockSize == 0, Q,
            $"Lk - Lq to be a multiple of block_size {Problem.BlockSize}; k has {Shape.KeyLength} tokens");
    }

    private void CheckSelection()
    {
        if (Permutation is null != BlockMask is null)
        {
            throw new BadInputException(
                "a given selection needs both permutation and block_mask; one of them is absent");
        }

        RequireShape(Permutation, PermutationShape, "[B, Hq, Lk]");
        RequireShape(BlockMask, MaskShape, "[B, Hq, nQ, nK]");
        if (BlockMask is { Dtype: not TensorDtype.U8 } mask)
        {
            throw new BadInputException($"tensor \"{mask.Name}\" is {mask.Dtype}; expected U8");
        }
    }
}
