// Direction of a run. Used by the plans when asked for workspace.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Direction of a run.</summary>
public enum AttentionPass
{
    /// <summary>Outputs from inputs.</summary>
    Forward = (int)fattn_pass.FATTN_PASS_FORWARD,

    /// <summary>Gradients from outputs and their gradients.</summary>
    Backward = (int)fattn_pass.FATTN_PASS_BACKWARD,
}
