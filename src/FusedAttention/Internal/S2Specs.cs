// Turns a shape and options into the native S2 problem and into what each run must bring. Used by S2AttentionPlan.
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>The tensors of S2 attention are those of dense attention without features.</summary>
internal static unsafe class S2Specs
{
    /// <summary>Options of the dense problem with the same tensors.</summary>
    internal static DenseOptions DenseOptionsOf(S2Options options) => new()
    {
        Scale = options.Scale,
        Backward = options.Backward,
        Float32Output = options.Float32Output,
        Float32Gradients = options.Float32Gradients,
    };

    /// <summary>The same shape and options in the native library's words.</summary>
    internal static fattn_s2_problem CreateProblem(AttentionShape shape, S2Options options, ElementType element)
    {
        fattn_dense_problem dense = DenseSpecs.CreateProblem(shape, DenseOptionsOf(options), element);
        fattn_s2_problem problem = default;
        problem.struct_size = (uint)sizeof(fattn_s2_problem);
        problem.flags = (uint)Flags(options);
        problem.q = dense.q;
        problem.k = dense.k;
        problem.v = dense.v;
        problem.o = dense.o;
        problem.d_o = dense.d_o;
        problem.d_q = dense.d_q;
        problem.d_k = dense.d_k;
        problem.d_v = dense.d_v;
        problem.block_size = options.BlockSize;
        problem.local_blocks = options.LocalBlocks;
        problem.vertical_stride = options.VerticalStride;
        problem.head_offset = options.HeadOffset;
        problem.dense_heads = options.DenseHeads;
        problem.scale = options.Scale ?? 0;
        return problem;
    }

    private static fattn_s2_flags Flags(S2Options options)
    {
        fattn_s2_flags flags = 0;
        Add(options.Scale is not null, fattn_s2_flags.FATTN_S2_HAS_SCALE);
        Add(!options.Causal, fattn_s2_flags.FATTN_S2_NON_CAUSAL);
        Add(options.PatternHeads == S2PatternHeads.Query, fattn_s2_flags.FATTN_S2_PATTERN_PER_QUERY_HEAD);
        Add(options.Homogeneous, fattn_s2_flags.FATTN_S2_HOMOGENEOUS);
        Add(options.Backward, fattn_s2_flags.FATTN_S2_BACKWARD);
        Add(options.Deterministic, fattn_s2_flags.FATTN_S2_DETERMINISTIC);
        return flags;

        void Add(bool isSet, fattn_s2_flags flag) => flags |= isSet ? flag : 0;
    }
}
