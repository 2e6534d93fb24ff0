// What one forward run of dense attention reads and writes in memory of a GPU. Made by callers, read by
// DenseAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The device tensors of one forward run. Members that the plan's options announce must be set, all others not.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
/// <remarks>
/// Lengths and page numbers are read on the device and never looked at here: numbers that leave their tensors are cut to
/// them, and give wrong results but no access outside. Lengths in host memory are checked
/// (<see cref="DenseHostLengths"/>).
/// </remarks>
public struct DenseDeviceForwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D], or their pages [Pages, PageSize, Hk, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv], or their pages [Pages, PageSize, Hv, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</summary>
    public DeviceTensor<T> Output;

    /// <summary>
    /// Receives the natural logarithm of each row's sum, [B, Hq, Lq]; -inf for rows that see no key (the sink logit
    /// with sinks). Not given: not wanted.
    /// </summary>
    public DeviceTensor<float> Lse;

    /// <summary>
    /// Additive bias as <see cref="DenseOptions.Bias"/> says; f32 through <see cref="DeviceTensor{T}.Float32"/>.
    /// </summary>
    public DeviceTensor<T> Bias;

    /// <summary>Visibility mask as <see cref="DenseOptions.Mask"/> says.</summary>
    public DeviceTensor<byte> Mask;

    /// <summary>Slopes, [Hq], with <see cref="DenseOptions.Alibi"/>.</summary>
    public DeviceTensor<float> AlibiSlopes;

    /// <summary>Sink logits, [Hq], with <see cref="DenseOptions.Sinks"/>.</summary>
    public DeviceTensor<float> SinkLogits;

    /// <summary>First query of each packed sequence, then the total used; [Sequences + 1].</summary>
    public DeviceTensor<int> CumulativeQueryLengths;

    /// <summary>First key of each packed sequence, then the total used; [Sequences + 1].</summary>
    public DeviceTensor<int> CumulativeKeyLengths;

    /// <summary>How many keys of each sequence exist, with <see cref="DenseOptions.KeyLengths"/>.</summary>
    public DeviceTensor<int> KeyLengths;

    /// <summary>
    /// Page numbers of each sequence, [B, MaxPagesPerSequence], with <see cref="DenseOptions.Paging"/>.
    /// </summary>
    public DeviceTensor<int> BlockTable;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;

    /// <summary>Key of the dropout generator.</summary>
    public ulong DropoutSeed;

    /// <summary>Its low 32 bits are the last counter word of the dropout generator.</summary>
    public ulong DropoutOffset;

    /// <summary>Added to query indices wherever positions matter: causal, window, chunk, ALiBi, dropout.</summary>
    public long QueryPositionOffset;

    /// <summary>Added to key indices wherever positions matter.</summary>
    public long KeyPositionOffset;
}
