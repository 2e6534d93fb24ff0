// Announces packed sequences of different lengths. Used by DenseOptions.
namespace FusedAttention;

/// <summary>Capacities of packed sequences; their places come with each run.</summary>
/// <param name="Sequences">Number of sequences.</param>
/// <param name="MaxQueryLength">Longest query sequence that will come, in tokens; 0, or more than all tokens together:
/// that many.</param>
/// <param name="MaxKeyLength">Longest key sequence that will come, in tokens; 0, or more than all tokens together: that
/// many.</param>
public sealed record PackedOptions(long Sequences, long MaxQueryLength, long MaxKeyLength);
