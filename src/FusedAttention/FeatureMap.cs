// What linear attention makes of queries and keys before it multiplies them. Chosen through LightningOptions.
namespace FusedAttention;

/// <summary>Map of each query and key row to its features.</summary>
public enum FeatureMap
{
    /// <summary>The row itself.</summary>
    Identity = 0,

    /// <summary>elu(x) + 1 of each number: x + 1 above 0, e^x below.</summary>
    EluPlusOne = 1,

    /// <summary>max(x, 0) of each number.</summary>
    Relu = 2,

    /// <summary>Softmax over the row.</summary>
    Softmax = 3,

    /// <summary>
    /// 1 + D + D (D + 1) / 2 features whose inner product is 1 + s + s^2 / 2 with s = q.k / sqrt(D), the Taylor series
    /// of exp to second order; D at most 128. In this order: 1; x_a / D^(1/4); and row by row x_a^2 / sqrt(2 D), then
    /// x_a x_b / sqrt(D) for b > a.
    /// </summary>
    /// <remarks>Arora et al. 2024, arXiv:2402.18668.</remarks>
    Taylor2 = 4,
}
