// What choosing blocks cost and kept in one measured case; shown below the table and written to files.
namespace FusedAttention.Cli.Measuring;

/// <param name="Milliseconds">Median time of the selection alone; the case's own time holds it too.</param>
/// <param name="KeptShare">Kept blocks over allowed blocks.</param>
/// <param name="Coverage">Share of the block weights that the kept blocks hold, mean over rows of blocks.</param>
/// <param name="DenseError">Largest difference from dense attention in double precision on sampled rows, over the
/// largest value there.</param>
internal sealed record CaseSelection(double Milliseconds, double KeptShare, double Coverage, double DenseError);
