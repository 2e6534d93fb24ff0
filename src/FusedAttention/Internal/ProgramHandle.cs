// Owns one reference to a native module. Held by CompiledProgram.
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A reference-counted native module. The native module holds its device itself.</summary>
internal sealed unsafe class ProgramHandle : SafeHandle
{
    internal ProgramHandle(fattn_module* module)
        : base(0, ownsHandle: true) => SetHandle((nint)module);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The native pointer; valid while the caller holds a reference.</summary>
    internal fattn_module* Pointer => (fattn_module*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_module_release((fattn_module*)handle);
        return true;
    }
}
