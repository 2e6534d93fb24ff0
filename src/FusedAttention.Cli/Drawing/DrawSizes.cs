// The sizes that the draw verb was given: a tensor file's, or those of its options.
using FusedAttention.Cli.Running;

namespace FusedAttention.Cli.Drawing;

/// <param name="Inputs">The tensor file's contents; null when options give the sizes.</param>
/// <param name="QueryLength">Of --q-len, or null.</param>
/// <param name="KeyLength">Of --kv-len, or null.</param>
/// <param name="Heads">Of --heads, or null.</param>
/// <param name="KeyHeads">Of --kv-heads, or null.</param>
internal sealed record DrawSizes(
    FamilyInputs? Inputs, long? QueryLength, long? KeyLength, long? Heads, long? KeyHeads)
{
    internal const long DefaultLength = 2048;

    private const long DefaultHeadDim = 64;

    /// <param name="length">Tokens when neither file nor option says how many.</param>
    /// <param name="heads">Heads when neither file nor option says how many.</param>
    internal AttentionShape Shape(long length = DefaultLength, long heads = 1)
    {
        if (Inputs is not null)
        {
            return Inputs.Shape;
        }

        long queryHeads = Heads ?? KeyHeads ?? heads;
        long keyHeads = KeyHeads ?? queryHeads;
        return new AttentionShape(1, queryHeads, QueryLength ?? KeyLength ?? length, DefaultHeadDim)
        {
            KeyHeads = keyHeads,
            ValueHeads = keyHeads,
            KeyLength = KeyLength ?? QueryLength ?? length,
        };
    }
}
