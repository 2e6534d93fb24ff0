// How large a launch of a kernel is. Given to CompiledKernel.
namespace FusedAttention;

/// <summary>Blocks and threads of one launch.</summary>
/// <param name="Grid">Blocks; each extent at least 1.</param>
/// <param name="Block">Threads of a block; each extent at least 1.</param>
/// <param name="DynamicSharedBytes">Shared memory of a block beside what the source declares.</param>
public readonly record struct LaunchSize(Extent3 Grid, Extent3 Block, int DynamicSharedBytes = 0)
{
    /// <summary>Blocks of a cluster (compute capability 9.0); null: no clusters.</summary>
    public Extent3? Cluster { get; init; }

    /// <summary>Whether all blocks have to be on the device at once.</summary>
    public bool IsCooperative { get; init; }
}
