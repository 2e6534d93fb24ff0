// Attributes of the assembly: only blittable types cross into native code.
using System.Runtime.CompilerServices;

[assembly: DisableRuntimeMarshalling]
