// One tensor to be written to a safetensors file; made by the verbs that store results.
using System;
using System.IO;

namespace FusedAttention.Cli.Safetensors;

/// <param name="Name">The tensor's name in the file.</param>
/// <param name="Dtype">The element type that <paramref name="Write"/> produces.</param>
/// <param name="Shape">Its extents, outermost first.</param>
/// <param name="Write">Writes all elements, little-endian, row-major.</param>
internal sealed record OutputTensor(string Name, TensorDtype Dtype, long[] Shape, Action<Stream> Write)
{
    internal long NumElements
    {
        get
        {
            long count = 1;
            foreach (long extent in Shape)
            {
                count = checked(count * extent);
            }

            return count;
        }
    }
}
