// Turns a shape and options into the native problem and into what each run must bring. Used by
// NeighborhoodAttentionPlan.
using System.Collections.Generic;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>What a neighborhood plan expects of every tensor of its runs.</summary>
internal sealed unsafe class NeighborhoodSpecs
{
    internal NeighborhoodSpecs(AttentionShape shape, NeighborhoodOptions options, ElementType element)
    {
        Dense = new DenseSpecs(shape, DenseOf(options), element);
        ElementType gradient = options.Float32Gradients ? ElementType.Float32 : element;
        AdditionalKey = Additional("additionalKey", shape.HeadDim, element);
        AdditionalValue = Additional("additionalValue", shape.ValueHeadDim, element);
        GradAdditionalKey = Additional("gradAdditionalKey", shape.HeadDim, gradient);
        GradAdditionalValue = Additional("gradAdditionalValue", shape.ValueHeadDim, gradient);

        TensorSpec? Additional(string name, long dim, ElementType type) => options.AdditionalKeys == 0
            ? null
            : new TensorSpec(name, type, DenseSpecs.Extents(shape, shape.KeyHeads, options.AdditionalKeys, dim));
    }

    /// <summary>The tensors that dense attention has too.</summary>
    internal DenseSpecs Dense { get; }

    internal TensorSpec? AdditionalKey { get; }

    internal TensorSpec? AdditionalValue { get; }

    internal TensorSpec? GradAdditionalKey { get; }

    internal TensorSpec? GradAdditionalValue { get; }

    /// <summary>The same shape and options in the native library's words.</summary>
    internal static fattn_neighborhood_problem CreateProblem(
        AttentionShape shape, NeighborhoodOptions options, ElementType element)
    {
        fattn_dense_problem dense = DenseSpecs.CreateProblem(shape, DenseOf(options), element);
        fattn_neighborhood_problem problem = default;
        problem.struct_size = (uint)sizeof(fattn_neighborhood_problem);
        problem.flags = (uint)Flags(options);
        problem.q = dense.q;
        problem.k = dense.k;
        problem.v = dense.v;
        problem.o = dense.o;
        problem.d_o = dense.d_o;
        problem.d_q = dense.d_q;
        problem.d_k = dense.d_k;
        problem.d_v = dense.d_v;
        problem.scale = dense.scale;
        IReadOnlyList<NeighborhoodAxis> axes = options.Axes;
        problem.num_axes = (uint)axes.Count;
        for (int n = 0; n < axes.Count; ++n)
        {
            problem.grid[n] = axes[n].Extent;
            problem.kernel_size[n] = axes[n].KernelSize;
            problem.stride[n] = axes[n].Stride;
            problem.dilation[n] = axes[n].Dilation;
            problem.causal[n] = axes[n].Causal ? 1u : 0u;
        }

        if (options.AdditionalKeys != 0)
        {
            problem.additional_k = DenseSpecs.Layout(
                shape, element, shape.KeyHeads, options.AdditionalKeys, shape.HeadDim, strides: null);
            problem.additional_v = DenseSpecs.Layout(
                shape, element, shape.KeyHeads, options.AdditionalKeys, shape.ValueHeadDim, strides: null);
            if (options.Backward)
            {
                problem.d_additional_k = problem.additional_k;
                problem.d_additional_v = problem.additional_v;
                problem.d_additional_k.dtype = problem.d_additional_v.dtype = problem.d_k.dtype;
            }
        }

        return problem;
    }

    private static fattn_neighborhood_flags Flags(NeighborhoodOptions options)
    {
        fattn_neighborhood_flags flags = 0;
        Add(options.Scale is not null, fattn_neighborhood_flags.FATTN_NEIGHBORHOOD_HAS_SCALE);
        Add(options.AdditionalKeys != 0, fattn_neighborhood_flags.FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV);
        Add(options.Backward, fattn_neighborhood_flags.FATTN_NEIGHBORHOOD_BACKWARD);
        Add(options.Deterministic, fattn_neighborhood_flags.FATTN_NEIGHBORHOOD_DETERMINISTIC);
        return flags;

        void Add(bool isSet, fattn_neighborhood_flags flag) => flags |= isSet ? flag : 0;
    }

    private static DenseOptions DenseOf(NeighborhoodOptions options) => new()
    {
        Scale = options.Scale,
        Backward = options.Backward,
        Float32Output = options.Float32Output,
        Float32Gradients = options.Float32Gradients,
    };
}
