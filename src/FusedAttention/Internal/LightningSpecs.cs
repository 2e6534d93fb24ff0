// Turns a shape and options of linear attention into the native problem and into what each run must bring. Used by
// LightningAttentionPlan.
using System;
using System.Globalization;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>What a lightning plan expects of every tensor of its runs.</summary>
internal sealed unsafe class LightningSpecs
{
    internal LightningSpecs(AttentionShape shape, LightningOptions options, ElementType element)
    {
        Tensors = new DenseSpecs(shape, TensorOptions(options), element);
        StateRows = CountFeatures(options.FeatureMap, shape.HeadDim);
        StateColumns = shape.ValueHeadDim + (options.Normalize ? 1 : 0);
        Slopes = new TensorSpec("slopes", ElementType.Float32, [shape.QueryHeads]);
        InitialState = State("initialState");
        FinalState = State("finalState");
        StepState = State("state");
        GradInitialState = State("gradInitialState");
        GradFinalState = State("gradFinalState");

        TensorSpec State(string name) =>
            new(name, ElementType.Float32, [shape.Batch, shape.QueryHeads, StateRows, StateColumns]);
    }

    /// <summary>Queries, keys, values, output and their gradients, which follow the rules of dense attention.</summary>
    internal DenseSpecs Tensors { get; }

    internal long StateRows { get; }

    internal long StateColumns { get; }

    internal TensorSpec Slopes { get; }

    internal TensorSpec InitialState { get; }

    internal TensorSpec FinalState { get; }

    internal TensorSpec StepState { get; }

    internal TensorSpec GradInitialState { get; }

    internal TensorSpec GradFinalState { get; }

    /// <summary>The same shape and options in the native library's words.</summary>
    internal static fattn_lightning_problem CreateProblem(
        AttentionShape shape, LightningOptions options, ElementType element)
    {
        fattn_dense_problem tensors = DenseSpecs.CreateProblem(shape, TensorOptions(options), element);
        fattn_lightning_problem problem = default;
        problem.struct_size = (uint)sizeof(fattn_lightning_problem);
        problem.flags = (uint)Flags(options);
        problem.q = tensors.q;
        problem.k = tensors.k;
        problem.v = tensors.v;
        problem.o = tensors.o;
        problem.d_o = tensors.d_o;
        problem.d_q = tensors.d_q;
        problem.d_k = tensors.d_k;
        problem.d_v = tensors.d_v;
        problem.scale = options.Scale ?? 0;
        problem.feature_map = (fattn_feature_map)options.FeatureMap;
        return problem;
    }

    /// <summary>Throws unless slopes are ones: those that a run takes to a GPU are not looked at there.</summary>
    /// <exception cref="AttentionException">A slope is negative or not finite.</exception>
    internal static void CheckDecay(ReadOnlySpan<float> slopes, string operation)
    {
        for (int head = 0; head < slopes.Length; ++head)
        {
            if (!float.IsFinite(slopes[head]) || slopes[head] < 0)
            {
                throw new AttentionException(
                    AttentionStatus.InvalidArgument, operation,
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"slopes[{head}] is {slopes[head]}; it must be finite and at least 0"));
            }
        }
    }

    private static fattn_lightning_flags Flags(LightningOptions options)
    {
        fattn_lightning_flags flags = 0;
        Add(options.Scale is not null, fattn_lightning_flags.FATTN_LIGHTNING_HAS_SCALE);
        Add(options.InitialState, fattn_lightning_flags.FATTN_LIGHTNING_HAS_INITIAL_STATE);
        Add(options.Backward, fattn_lightning_flags.FATTN_LIGHTNING_BACKWARD);
        Add(!options.Causal, fattn_lightning_flags.FATTN_LIGHTNING_NON_CAUSAL);
        Add(options.Normalize, fattn_lightning_flags.FATTN_LIGHTNING_NORMALIZE);
        return flags;

        void Add(bool isSet, fattn_lightning_flags flag) => flags |= isSet ? flag : 0;
    }

    private static DenseOptions TensorOptions(LightningOptions options) => new()
    {
        Backward = options.Backward,
        Float32Output = options.Float32Output,
        Float32Gradients = options.Float32Gradients,
    };

    private static long CountFeatures(FeatureMap map, long headDim) =>
        map == FeatureMap.Taylor2 ? 1 + headDim + (headDim * (headDim + 1) / 2) : headDim;
}
