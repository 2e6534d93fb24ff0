// What can be asked of any native plan. Used by the plan classes of all families.
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>Descriptions of a native plan as managed values.</summary>
internal static unsafe class PlanQueries
{
    internal static PlanDescription Describe(PlanHandle handle)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        fattn_plan_description info = ReadDescription(handle);
        return new PlanDescription
        {
            Device = (DeviceKind)info.device_kind,
            ForwardKernel = NativeCall.Text(info.forward_kernel, 64),
            BackwardKernel = NativeCall.Text(info.backward_kernel, 64),
            ForwardWorkspaceBytes = info.forward_workspace_bytes,
            BackwardWorkspaceBytes = info.backward_workspace_bytes,
            ForwardDeviceWorkspaceBytes = info.forward_device_workspace_bytes,
            BackwardDeviceWorkspaceBytes = info.backward_device_workspace_bytes,
            ForwardFlops = info.forward_flops,
            BackwardFlops = info.backward_flops,
        };
    }

    internal static ulong GetWorkspaceBytes(PlanHandle handle, AttentionPass pass, int maxThreads)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        ulong host, device;
        NativeCall.Check(
            NativeMethods.fattn_plan_workspace(handle.Pointer, (fattn_pass)pass, maxThreads, &host, &device),
            "GetWorkspaceBytes");
        return host;
    }

    internal static ulong GetDeviceWorkspaceBytes(PlanHandle handle, AttentionPass pass)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        ulong device;
        NativeCall.Check(
            NativeMethods.fattn_plan_workspace(handle.Pointer, (fattn_pass)pass, 0, null, &device),
            "GetDeviceWorkspaceBytes");
        return device;
    }

    /// <summary>Device memory of a forward and of a backward run; 0 for a pass that the plan was made without.</summary>
    internal static (ulong Forward, ulong Backward) GetDeviceWorkspaces(PlanHandle handle)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        fattn_plan_description info = ReadDescription(handle);
        return (info.forward_device_workspace_bytes, info.backward_device_workspace_bytes);
    }

    internal static void Prepare(PlanHandle handle, AttentionPass pass, CudaStream stream)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        scope.Add(stream.Handle);
        NativeCall.Check(
            NativeMethods.fattn_plan_prepare(handle.Pointer, (fattn_pass)pass, (void*)stream.Native), "Prepare");
    }

    internal static ScheduleStats GetScheduleStats(PlanHandle handle)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        fattn_schedule_stats stats = ReadStats(handle);
        return ToStats(in stats);
    }

    internal static ScheduleStats ToStats(in fattn_schedule_stats stats) =>
        new()
        {
            TileQueries = stats.tile_q,
            TileKeys = stats.tile_kv,
            QueryTiles = stats.num_q_tiles,
            KeyTiles = stats.num_kv_tiles,
            FullTiles = stats.full_tiles,
            PartialTiles = stats.partial_tiles,
            SkippedTiles = stats.skipped_tiles,
            NeededPairs = stats.needed_pairs,
            VisitedPairs = stats.visited_pairs,
        };

    internal static TileMap GetTileMap(PlanHandle handle, long batch, long head)
    {
        using HandleScope scope = default;
        scope.Add(handle);
        fattn_schedule_stats stats = ReadStats(handle);
        byte[] tiles = new byte[checked(stats.num_q_tiles * stats.num_kv_tiles)];
        fixed (byte* first = tiles)
        {
            NativeCall.Check(
                NativeMethods.fattn_plan_schedule_tiles(handle.Pointer, batch, head, first, (ulong)tiles.LongLength),
                "GetTileMap");
        }

        return new TileMap(tiles, stats.num_q_tiles, stats.num_kv_tiles);
    }

    private static fattn_plan_description ReadDescription(PlanHandle handle)
    {
        fattn_plan_description info = default;
        info.struct_size = (uint)sizeof(fattn_plan_description);
        NativeCall.Check(NativeMethods.fattn_plan_info(handle.Pointer, &info), "Describe");
        return info;
    }

    private static fattn_schedule_stats ReadStats(PlanHandle handle)
    {
        fattn_schedule_stats stats = default;
        stats.struct_size = (uint)sizeof(fattn_schedule_stats);
        NativeCall.Check(NativeMethods.fattn_plan_schedule_stats(handle.Pointer, &stats), "GetScheduleStats");
        return stats;
    }
}
