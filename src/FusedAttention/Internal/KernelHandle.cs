// Owns one reference to a native kernel. Held by CompiledKernel.
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A reference-counted native kernel. The native kernel holds its module itself.</summary>
internal sealed unsafe class KernelHandle : SafeHandle
{
    internal KernelHandle(fattn_kernel* kernel)
        : base(0, ownsHandle: true) => SetHandle((nint)kernel);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The native pointer; valid while the caller holds a reference.</summary>
    internal fattn_kernel* Pointer => (fattn_kernel*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_kernel_release((fattn_kernel*)handle);
        return true;
    }
}
