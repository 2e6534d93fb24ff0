// How scores become weights. Used by DenseOptions.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>The function that turns scores into weights.</summary>
public enum AttentionWeights
{
    /// <summary>exp(s) over the row's sum.</summary>
    Softmax = (int)fattn_weights.FATTN_WEIGHTS_SOFTMAX,

    /// <summary>sigmoid(s + <see cref="DenseOptions.SigmoidBias"/>), not normalised; there is no LSE.</summary>
    Sigmoid = (int)fattn_weights.FATTN_WEIGHTS_SIGMOID,
}
