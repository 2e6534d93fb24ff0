// Owns one reference to a native plan. Held by the plans.
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A reference-counted native plan. The native plan holds its device itself.</summary>
internal sealed unsafe class PlanHandle : SafeHandle
{
    internal PlanHandle(fattn_plan* plan)
        : base(0, ownsHandle: true) => SetHandle((nint)plan);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The native pointer; valid while the caller holds a reference.</summary>
    internal fattn_plan* Pointer => (fattn_plan*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_plan_release((fattn_plan*)handle);
        return true;
    }
}
