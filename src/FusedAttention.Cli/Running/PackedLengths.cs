// The checked contents of cu_seqlens_q and cu_seqlens_k; made by the dense run.
using System;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

/// <param name="Queries">Where each sequence's queries begin, and the end of the last.</param>
/// <param name="Keys">Where each sequence's keys begin, and the end of the last.</param>
internal sealed record PackedLengths(int[] Queries, int[] Keys)
{
    internal PackedOptions Options => new(Queries.Length - 1, Longest(Queries), Longest(Keys));

    /// <summary>Null when the sequences are not packed.</summary>
    /// <exception cref="BadInputException">A position is not 0 first, decreases, or is past the tokens.</exception>
    internal static PackedLengths? Load(DenseInputs inputs)
    {
        if (inputs.CuSeqlensQ is not { } queries || inputs.CuSeqlensK is not { } keys)
        {
            return null;
        }

        SafetensorsReader reader = inputs.Tensors.Reader;
        return new PackedLengths(
            Load(reader, queries, inputs.Shape.QueryLength), Load(reader, keys, inputs.Shape.KeyLength));
    }

    private static int[] Load(SafetensorsReader reader, TensorEntry entry, long tokens)
    {
        int[] starts = TensorLoader.LoadIndices(reader, entry);
        for (int i = 0; i < starts.Length; ++i)
        {
            int least = i == 0 ? 0 : starts[i - 1];
            long most = i == 0 ? 0 : tokens;
            if (starts[i] < least || starts[i] > most)
            {
                throw new BadInputException(
                    $"tensor \"{entry.Name}\" holds {starts[i]} at position {i}; expected {least}..{most}");
            }
        }

        return starts;
    }

    private static long Longest(int[] starts)
    {
        int longest = 0;
        for (int i = 1; i < starts.Length; ++i)
        {
            longest = Math.Max(longest, starts[i] - starts[i - 1]);
        }

        return longest;
    }
}
