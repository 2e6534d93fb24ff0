// Stands for the 16-bit type that newer runtimes bring: the library knows it by name and size. Used by BFloat16Tests.
using System.Runtime.InteropServices;

namespace System.Numerics;

[StructLayout(LayoutKind.Sequential)]
internal struct BFloat16
{
    public ushort Bits;
}
