// Turns a shape and options into the native problem and into what each run must bring. Used by
// PermutedBlockAttentionPlan.
using System;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>What a permuted block plan expects of every tensor of its runs.</summary>
internal sealed unsafe class PermutedBlockSpecs
{
    internal PermutedBlockSpecs(AttentionShape shape, PermutedBlockOptions options, ElementType element)
    {
        Tensors = new DenseSpecs(shape, TensorOptions(options), element);
        long queryBlock = options.QueryBlock ?? options.BlockSize;
        QueryBlocks = (shape.QueryLength + queryBlock - 1) / queryBlock;
        KeyBlocks = (shape.KeyLength + options.BlockSize - 1) / options.BlockSize;
        long[] blocks = [shape.Batch, shape.QueryHeads, QueryBlocks, KeyBlocks];
        try
        {
            Permutation = new TensorSpec(
                "permutation", ElementType.Int32, [shape.Batch, shape.QueryHeads, shape.KeyLength]);
            BlockMask = new TensorSpec("blockMask", ElementType.UInt8, blocks);
            Scores = new TensorSpec("scores", ElementType.Float32, blocks);
            Coverage = new TensorSpec(
                "coverage", ElementType.Float32, [shape.Batch, shape.QueryHeads, QueryBlocks]);
        }
        catch (OverflowException)
        {
            throw new ArgumentException(
                $"The block mask of {shape} is larger than any memory; its elements must be countable in 64 bits.",
                nameof(shape));
        }
    }

    internal DenseSpecs Tensors { get; }

    internal long QueryBlocks { get; }

    internal long KeyBlocks { get; }

    internal TensorSpec Permutation { get; }

    internal TensorSpec BlockMask { get; }

    internal TensorSpec Scores { get; }

    internal TensorSpec Coverage { get; }

    /// <summary>The same shape and options in the native library's words.</summary>
    internal static fattn_permuted_block_problem CreateProblem(
        AttentionShape shape, PermutedBlockOptions options, ElementType element)
    {
        fattn_dense_problem tensors = DenseSpecs.CreateProblem(shape, TensorOptions(options), element);
        fattn_permuted_block_problem problem = default;
        problem.struct_size = (uint)sizeof(fattn_permuted_block_problem);
        problem.flags = (uint)Flags(options);
        problem.q = tensors.q;
        problem.k = tensors.k;
        problem.v = tensors.v;
        problem.o = tensors.o;
        problem.d_o = tensors.d_o;
        problem.d_q = tensors.d_q;
        problem.d_k = tensors.d_k;
        problem.d_v = tensors.d_v;
        problem.block_size = Length(options.BlockSize, nameof(options.BlockSize));
        problem.segment_size = Length(options.SegmentSize, nameof(options.SegmentSize));
        problem.query_block = options.QueryBlock is { } queryBlock
            ? Length(queryBlock, nameof(options.QueryBlock))
            : 0;
        problem.coverage = options.Coverage;
        problem.scale = options.Scale ?? 0;
        return problem;
    }

    // To the native library 0 means its default; here it is a mistake.
    private static long Length(long given, string name) => given > 0
        ? given
        : throw new ArgumentException($"{name} is {given}; it must be 1 or more.", name);

    private static DenseOptions TensorOptions(PermutedBlockOptions options) => new()
    {
        Scale = options.Scale,
        Backward = options.Backward,
        Float32Output = options.Float32Output,
        Float32Gradients = options.Float32Gradients,
    };

    private static fattn_permuted_block_flags Flags(PermutedBlockOptions options)
    {
        fattn_permuted_block_flags flags = fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_HAS_COVERAGE;
        Add(options.Scale is not null, fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_HAS_SCALE);
        Add(!options.Causal, fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_NON_CAUSAL);
        Add(options.MaxPool, fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_MAX_POOL);
        Add(options.SharePermutation, fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION);
        Add(options.Backward, fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_BACKWARD);
        Add(options.Deterministic, fattn_permuted_block_flags.FATTN_PERMUTED_BLOCK_DETERMINISTIC);
        return flags;

        void Add(bool isSet, fattn_permuted_block_flags flag) => flags |= isSet ? flag : 0;
    }
}
