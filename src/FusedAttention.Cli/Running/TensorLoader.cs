// Loads tensors of a safetensors file into native memory, in the type a call runs in; used by the run verb.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal static class TensorLoader
{
    /// <summary>Loads a floating-point tensor of any stored type.</summary>
    /// <typeparam name="T">float, Half or BFloat16.</typeparam>
    internal static HostTensor<T> Load<T>(SafetensorsReader reader, TensorEntry entry)
        where T : unmanaged
    {
        HostTensor<T> tensor = new(entry.Shape);
        reader.Read(entry, (bytes, first) =>
        {
            Span<T> part = tensor.Buffer.AsSpan(first, bytes.Length / entry.Dtype.SizeInBytes());
            if (typeof(T) == typeof(float))
            {
                ElementConversion.ToSingle(entry.Dtype, bytes, MemoryMarshal.Cast<T, float>(part));
            }
            else if (typeof(T) == typeof(Half))
            {
                ElementConversion.ToHalf(entry.Dtype, bytes, MemoryMarshal.Cast<T, Half>(part));
            }
            else
            {
                ElementConversion.ToBFloat16(entry.Dtype, bytes, MemoryMarshal.Cast<T, BFloat16>(part));
            }
        });
        return tensor;
    }

    /// <summary>Loads an index tensor of I32 or I64 whose values fit in 32 bits.</summary>
    /// <exception cref="BadInputException">A value does not fit.</exception>
    internal static int[] LoadIndices(SafetensorsReader reader, TensorEntry entry)
    {
        int[] indices = new int[entry.NumElements];
        reader.Read(entry, (bytes, first) =>
        {
            Span<int> part = indices.AsSpan((int)first, bytes.Length / entry.Dtype.SizeInBytes());
            if (entry.Dtype == TensorDtype.I32)
            {
                MemoryMarshal.Cast<byte, int>(bytes).CopyTo(part);
                return;
            }

            ReadOnlySpan<long> wide = MemoryMarshal.Cast<byte, long>(bytes);
            for (int i = 0; i < wide.Length; ++i)
            {
                part[i] = wide[i] is >= int.MinValue and <= int.MaxValue
                    ? (int)wide[i]
                    : throw new BadInputException(
                        $"tensor \"{entry.Name}\" holds {wide[i]}; indices must fit in 32 bits");
            }
        });
        return indices;
    }

    /// <summary>Makes the entry of an output file from a tensor of floats.</summary>
    internal static OutputTensor Store(string name, HostTensor<float> tensor) => Store(name, TensorDtype.F32, tensor);

    /// <summary>Makes the entry of an output file from a tensor of elements that a dtype stands for.</summary>
    internal static OutputTensor Store<T>(string name, TensorDtype dtype, HostTensor<T> tensor)
        where T : unmanaged
    {
        return new OutputTensor(name, dtype, tensor.Lengths.ToArray(), stream =>
        {
            const int PieceElements = 1 << 18;
            for (long at = 0; at < tensor.Length; at += PieceElements)
            {
                int count = (int)Math.Min(PieceElements, tensor.Length - at);
                stream.Write(MemoryMarshal.AsBytes(tensor.Buffer.AsSpan(at, count)));
            }
        });
    }
}
