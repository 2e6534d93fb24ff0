// Published block patterns as masks of kept blocks. Called by users of block-sparse attention.
using System;
using FusedAttention.Internal;
using FusedAttention.Interop;
using Kind = FusedAttention.Interop.fattn_block_pattern_kind;

namespace FusedAttention;

/// <summary>
/// Masks of kept blocks, [H, query blocks, key blocks] of 0 and 1, after published patterns: the form that
/// block-sparse attention takes.
/// </summary>
/// <remarks>
/// All of them see the first blocks that "sinks" says and the blocks less than "window" away, the query's own included
/// with a window of 1 or more. All numbers are blocks. Thread-safe; time and memory are those of the mask, H times
/// query blocks times key blocks bytes, which grid and pattern alone decide: made once, it serves many runs.
/// </remarks>
public static unsafe class BlockMasks
{
    /// <summary>The first blocks and a window (StreamingLLM, arXiv:2309.17453).</summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="sinks">First blocks that every query sees, 0 or more.</param>
    /// <param name="window">Blocks of the window on one side, 0 or more.</param>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] SinkWindow(BlockGrid grid, long sinks, long window) => Make(
        grid, new fattn_block_pattern { kind = Kind.FATTN_BLOCK_PATTERN_SINK_WINDOW }, sinks, window);

    /// <summary>A window and every stride-th block by distance (Sparse Transformer, arXiv:1904.10509).</summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="stride">Distance of the distant blocks, 1 or more.</param>
    /// <param name="window">Blocks of the window on one side, 0 or more; the paper takes the stride.</param>
    /// <param name="sinks">First blocks that every query sees, 0 or more.</param>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] Strided(BlockGrid grid, long stride, long window, long sinks = 0) => Make(
        grid, new fattn_block_pattern { kind = Kind.FATTN_BLOCK_PATTERN_STRIDED, stride_blocks = stride }, sinks,
        window);

    /// <summary>The query's own group of blocks and the last ones of every group (Sparse Transformer).</summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="group">Blocks of a group, 1 or more.</param>
    /// <param name="summaries">Last blocks of every group that all queries see, 0 to <paramref name="group"/>.</param>
    /// <param name="window">Blocks of a window on one side, 0 or more.</param>
    /// <param name="sinks">First blocks that every query sees, 0 or more.</param>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] Fixed(BlockGrid grid, long group, long summaries, long window = 0, long sinks = 0) => Make(
        grid,
        new fattn_block_pattern
        {
            kind = Kind.FATTN_BLOCK_PATTERN_FIXED,
            stride_blocks = group,
            summary_blocks = summaries,
        },
        sinks, window);

    /// <summary>
    /// Global blocks, a window and random blocks (BigBird, arXiv:2007.14062). Without causality the global blocks also
    /// see everything.
    /// </summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="globals">First blocks that are global, 0 or more.</param>
    /// <param name="window">Blocks of the window on one side, 0 or more.</param>
    /// <param name="random">Blocks drawn besides for each head and query block, 0 or more.</param>
    /// <param name="seed">Key of the generator; the same seed draws the same blocks everywhere.</param>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] RandomGlobal(BlockGrid grid, long globals, long window, long random, ulong seed) => Make(
        grid,
        new fattn_block_pattern
        {
            kind = Kind.FATTN_BLOCK_PATTERN_RANDOM_GLOBAL,
            random_blocks = random,
            seed = seed,
        },
        globals, window);

    /// <summary>Blocks at distances that are powers of two (PowerAttention, arXiv:2503.03588).</summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="window">Blocks of the window on one side, 0 or more.</param>
    /// <param name="sinks">First blocks that every query sees, 0 or more.</param>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] PowerOfTwo(BlockGrid grid, long window = 1, long sinks = 0) => Make(
        grid, new fattn_block_pattern { kind = Kind.FATTN_BLOCK_PATTERN_POWER_OF_TWO }, sinks, window);

    /// <summary>A window of its own for every head (MoA, arXiv:2406.14909).</summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="windows">Blocks of each head's window on one side, [H], 0 or more.</param>
    /// <param name="sinks">First blocks that every query sees, 0 or more.</param>
    /// <exception cref="ArgumentException">There is not one window a head.</exception>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] HeadWindows(BlockGrid grid, ReadOnlySpan<long> windows, long sinks = 0)
    {
        CheckHeads(grid, windows.Length, nameof(windows));
        fixed (long* first = windows)
        {
            return Make(
                grid,
                new fattn_block_pattern { kind = Kind.FATTN_BLOCK_PATTERN_HEAD_WINDOWS, head_windows = first }, sinks,
                window: 0);
        }
    }

    /// <summary>
    /// Heads that see everything and heads that see sinks and window only (DuoAttention, arXiv:2410.10819).
    /// </summary>
    /// <param name="grid">Heads and tokens.</param>
    /// <param name="streaming">Whether each head sees sinks and window only, [H].</param>
    /// <param name="sinks">First blocks that every query sees, 0 or more.</param>
    /// <param name="window">Blocks of the window on one side, 0 or more.</param>
    /// <exception cref="ArgumentException">There is not one value a head.</exception>
    /// <exception cref="AttentionException">A number is outside its range.</exception>
    /// <returns>The mask, [H, query blocks, key blocks] of 0 and 1.</returns>
    public static byte[] HeadClasses(BlockGrid grid, ReadOnlySpan<bool> streaming, long sinks, long window)
    {
        CheckHeads(grid, streaming.Length, nameof(streaming));
        fixed (bool* first = streaming)
        {
            return Make(
                grid,
                new fattn_block_pattern
                {
                    kind = Kind.FATTN_BLOCK_PATTERN_HEAD_CLASSES,
                    head_streaming = (byte*)first,
                },
                sinks, window);
        }
    }

    private static void CheckHeads(BlockGrid grid, int length, string name)
    {
        ArgumentNullException.ThrowIfNull(grid);
        if (length != grid.Heads)
        {
            throw new ArgumentException($"{name} has {length} values; the grid has {grid.Heads} heads.", name);
        }
    }

    private static byte[] Make(BlockGrid grid, fattn_block_pattern pattern, long sinks, long window)
    {
        ArgumentNullException.ThrowIfNull(grid);
        pattern.struct_size = (uint)sizeof(fattn_block_pattern);
        pattern.flags = grid.Causal ? 0 : (uint)fattn_block_pattern_flags.FATTN_BLOCK_PATTERN_NON_CAUSAL;
        pattern.num_heads = grid.Heads;
        pattern.q_len = grid.QueryLength;
        pattern.kv_len = grid.KeyLength;
        pattern.block_size = grid.BlockSize;
        pattern.sink_blocks = sinks;
        pattern.window_blocks = window;
        byte[] mask = new byte[checked(Math.Max(grid.Heads, 0) * grid.QueryBlocks * grid.KeyBlocks)];
        fixed (byte* first = mask)
        {
            NativeCall.Check(
                NativeMethods.fattn_block_pattern_mask(&pattern, first, (ulong)mask.LongLength), nameof(BlockMasks));
        }

        return mask;
    }
}
