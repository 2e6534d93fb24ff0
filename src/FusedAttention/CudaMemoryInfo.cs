// How much memory a GPU has. Made by CudaDevice.
namespace FusedAttention;

/// <summary>Memory of a GPU at one moment, in bytes.</summary>
/// <param name="Free">What can still be allocated, by all programs together.</param>
/// <param name="Total">All of it.</param>
public readonly record struct CudaMemoryInfo(long Free, long Total);
