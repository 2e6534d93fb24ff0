// How far a query sees. Used by DenseOptions.
namespace FusedAttention;

/// <summary>Keys around the query's own position that stay visible, ends included.</summary>
/// <param name="Left">Keys before the position, 0 or more; null: all.</param>
/// <param name="Right">Keys after the position, 0 or more; null: all.</param>
public readonly record struct AttentionWindow(long? Left, long? Right);
