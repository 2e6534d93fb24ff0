// Which devices the families take whose runs in C# are over host memory alone. Called by their plans and by what asks for support.
using System.Diagnostics.CodeAnalysis;

namespace FusedAttention.Internal;

internal static class HostRuns
{
    /// <summary>Whether runs of a family cannot be on a device, and why.</summary>
    public static bool Refuse(AttentionDevice? device, string family, [NotNullWhen(true)] out string? reason)
    {
        reason = device is CudaDevice
            ? $"{family} attention was asked for on a CUDA device; from C# dense attention alone runs there, the others through the C interface"
            : null;
        return reason is not null;
    }

    /// <summary>The device of a plan, the CPU where none is given.</summary>
    /// <exception cref="AttentionException">The device is a GPU.</exception>
    public static AttentionDevice Require(AttentionDevice? device, string family) =>
        Refuse(device, family, out string? reason)
            ? throw new AttentionException(AttentionStatus.Unsupported, $"{family} attention plan", reason)
            : device ?? AttentionDevice.Cpu;
}
