// How a program is compiled at run time. Given to NvrtcCompiler.
using System.Collections.Generic;

namespace FusedAttention;

/// <summary>Options of a compilation; all may be left out.</summary>
public sealed record CompileOptions
{
    /// <summary>Name of the program in the compiler's messages.</summary>
    public string SourceName { get; init; } = "program.cu";

    /// <summary>Options of NVRTC but the architecture, as "--use_fast_math".</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>Texts that #include lines find by these names. No other file is seen unless an option names a
    /// folder.</summary>
    public IReadOnlyDictionary<string, string> Headers { get; init; } = new Dictionary<string, string>();

    /// <summary>Kernels that are instances of templates, as "scale&lt;float&gt;"; they are found by these
    /// names.</summary>
    public IReadOnlyList<string> Expressions { get; init; } = [];

    /// <summary>What is compiled for, as "sm_80" or "compute_80"; null: what suits the device.</summary>
    public string? Target { get; init; }

    /// <summary>Whether the cache of compiled programs is used.</summary>
    public bool UseCache { get; init; } = true;
}
