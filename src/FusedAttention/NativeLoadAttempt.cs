// One place where the native library was looked for. Listed by NativeRuntimeReport and NativeLibraryLoadException.
namespace FusedAttention;

/// <summary>One place where the native library was looked for.</summary>
/// <param name="Place">A file, or a bare name that the system's loader searched for.</param>
/// <param name="Result">"loaded", "no such file", or the loader's own text.</param>
public sealed record NativeLoadAttempt(string Place, string Result);
