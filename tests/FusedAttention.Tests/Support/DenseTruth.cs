// Dense attention by its definition, in double precision, one row at a time. Used by the dense tests.
using System;

namespace FusedAttention.Tests.Support;

/// <summary>Plain loops over all pairs; forward and backward share them.</summary>
internal sealed class DenseTruth
{
    private readonly DenseCase _case;
    private readonly AttentionShape _shape;
    private readonly DenseOptions _options;
    private readonly double _scale;
    private readonly DenseResult _result;

    private DenseTruth(DenseCase problem)
    {
        _case = problem;
        _shape = problem.Shape;
        _options = problem.Options;
        _scale = _options.Scale ?? (1 / Math.Sqrt(_shape.HeadDim));
        long rows = _shape.Batch * _shape.QueryHeads * _shape.QueryLength;
        _result = new DenseResult
        {
            Output = new double[rows * _shape.ValueHeadDim],
            Lse = _options.Weights == AttentionWeights.Softmax ? new double[rows] : [],
            GradQuery = new double[problem.Query.Length],
            GradKey = new double[problem.Key.Length],
            GradValue = new double[problem.Value.Length],
            GradBias = new double[problem.Bias.Length],
            GradSinkLogits = new double[problem.SinkLogits.Length],
        };
        Array.Fill(_result.Lse, double.NegativeInfinity); // of queries that belong to no packed sequence
    }

    /// <summary>Outputs and gradients of a problem.</summary>
    public static DenseResult Compute(DenseCase problem)
    {
        var truth = new DenseTruth(problem);
        for (int entry = 0; entry < problem.Entries; ++entry)
        {
            for (long head = 0; head < problem.Shape.QueryHeads; ++head)
            {
                truth.AddHead(entry, head);
            }
        }

        return truth._result;
    }

    private void AddHead(int entry, long head)
    {
        bool isPacked = _options.Packed is not null;
        long batch = isPacked ? 0 : entry;
        int[] queryStarts = _case.CumulativeQueryLengths, keyStarts = _case.CumulativeKeyLengths;
        long firstQuery = isPacked ? queryStarts[entry] : 0;
        long queries = isPacked ? queryStarts[entry + 1] - firstQuery : _shape.QueryLength;
        long firstKey = isPacked && _options.Paging is null ? keyStarts[entry] : 0;
        long keys = isPacked && _options.Paging is null ? keyStarts[entry + 1] - firstKey : _shape.KeyLength;
        if (_options.KeyLengths)
        {
            keys = Math.Min(keys, _case.KeyLengths[entry]);
        }

        long keyHead = head * _shape.KeyHeads / _shape.QueryHeads;
        long valueHead = head * _shape.ValueHeads / _shape.QueryHeads;
        for (long i = 0; i < queries; ++i)
        {
            AddRow(new Row(this, entry, batch, head, i, firstQuery + i, queries, keys, firstKey, keyHead, valueHead));
        }
    }

    private void AddRow(Row row)
    {
        double[] scores = new double[row.Keys], slopes = new double[row.Keys], weights = new double[row.Keys];
        bool isSoftmax = _options.Weights == AttentionWeights.Softmax;
        double sink = _options.Sinks ? _case.SinkLogits[row.Head] : double.NegativeInfinity;
        double largest = sink;
        for (long j = 0; j < row.Keys; ++j)
        {
            (scores[j], slopes[j]) = row.Score(j);
            largest = Math.Max(largest, scores[j]);
        }

        double lse = double.NegativeInfinity;
        if (isSoftmax && largest > double.NegativeInfinity)
        {
            double sum = Math.Exp(sink - largest);
            foreach (double score in scores)
            {
                sum += Math.Exp(score - largest);
            }

            lse = largest + Math.Log(sum);
        }

        for (long j = 0; j < row.Keys; ++j)
        {
            bool isVisible = scores[j] > double.NegativeInfinity;
            weights[j] = !isVisible ? 0
                : isSoftmax ? Math.Exp(scores[j] - lse)
                : 1 / (1 + Math.Exp(-(scores[j] + (_options.SigmoidBias ?? 0))));
        }

        long place = (((row.Batch * _shape.QueryHeads) + row.Head) * _shape.QueryLength) + row.Query;
        Span<double> output = _result.Output.AsSpan((int)(place * _shape.ValueHeadDim), (int)_shape.ValueHeadDim);
        for (long j = 0; j < row.Keys; ++j)
        {
            for (int d = 0; d < output.Length; ++d)
            {
                output[d] += weights[j] * row.DropoutFactor(j) * _case.Value[row.ValueAt(j) + d];
            }
        }

        double gradLse = 0;
        if (isSoftmax)
        {
            _result.Lse[place] = lse;
            gradLse = _case.GradLse[place];
        }

        AddGradients(row, place, weights, slopes, output, gradLse, sink, lse);
    }

    private void AddGradients(
        Row row, long place, double[] weights, double[] slopes, ReadOnlySpan<double> output, double gradLse,
        double sink,
        double lse)
    {
        bool isSoftmax = _options.Weights == AttentionWeights.Softmax;
        int valueDim = (int)_shape.ValueHeadDim, headDim = (int)_shape.HeadDim;
        ReadOnlySpan<float> gradOutput = _case.GradOutput.AsSpan((int)(place * valueDim), valueDim);
        double dot = 0;
        for (int d = 0; d < valueDim; ++d)
        {
            dot += output[d] * gradOutput[d];
        }

        for (long j = 0; j < row.Keys; ++j)
        {
            double factor = row.DropoutFactor(j), gradWeight = 0;
            for (int d = 0; d < valueDim; ++d)
            {
                gradWeight += gradOutput[d] * _case.Value[row.ValueAt(j) + d];
                _result.GradValue[row.ValueAt(j) + d] += weights[j] * factor * gradOutput[d];
            }

            gradWeight *= factor;
            double gradScore = isSoftmax
                ? weights[j] * (gradWeight - dot + gradLse)
                : weights[j] * (1 - weights[j]) * gradWeight;
            if (_options.Bias is not null)
            {
                _result.GradBias[row.BiasAt(j)] += gradScore;
            }

            double gradProduct = gradScore * slopes[j] * _scale;
            for (int d = 0; d < headDim; ++d)
            {
                _result.GradQuery[(place * headDim) + d] += gradProduct * _case.Key[row.KeyAt(j) + d];
                _result.GradKey[row.KeyAt(j) + d] += gradProduct * _case.Query[(place * headDim) + d];
            }
        }

        if (_options.Sinks)
        {
            _result.GradSinkLogits[row.Head] += Math.Exp(sink - lse) * (gradLse - dot);
        }
    }

    /// <summary>One query of one head and where everything about it lies.</summary>
    private readonly record struct Row(
        DenseTruth Truth, int Entry, long Batch, long Head, long Index, long Query, long Queries, long Keys,
        long FirstKey,
        long KeyHead, long ValueHead)
    {
        private AttentionShape Shape => Truth._shape;

        private DenseOptions Options => Truth._options;

        private DenseCase Case => Truth._case;

        private long Position => Index + Case.QueryPositionOffset
            + (Options.CausalAlignment == CausalAlignment.BottomRight ? Keys - Queries : 0);

        public long KeyAt(long j) => At(j, KeyHead, Shape.KeyHeads, Shape.HeadDim);

        public long ValueAt(long j) => At(j, ValueHead, Shape.ValueHeads, Shape.ValueHeadDim);

        public long BiasAt(long j) => PairAt(j, Options.Bias!.PerBatch, Options.Bias.PerHead);

        public double DropoutFactor(long j)
        {
            if (Options.Dropout is not { } p)
            {
                return 1;
            }

            bool keeps = Philox.Keeps(
                (Entry * Shape.QueryHeads) + Head, Index + Case.QueryPositionOffset, j + Case.KeyPositionOffset, p,
                Case.DropoutSeed, Case.DropoutOffset);
            return keeps ? 1 / (1 - (double)p) : 0;
        }

        /// <summary>The score of a pair, -inf when hidden, and the derivative of the soft-cap.</summary>
        public (double Score, double Slope) Score(long j)
        {
            if (!IsVisible(j))
            {
                return (double.NegativeInfinity, 0);
            }

            long queryAt = ((((Batch * Shape.QueryHeads) + Head) * Shape.QueryLength) + Query) * Shape.HeadDim;
            double score = 0, slope = 1;
            for (int d = 0; d < Shape.HeadDim; ++d)
            {
                score += (double)Case.Query[queryAt + d] * Case.Key[KeyAt(j) + d];
            }

            score *= Truth._scale;
            if (Options.SoftCap is { } cap)
            {
                double t = Math.Tanh(score / cap);
                score = cap * t;
                slope = 1 - (t * t);
            }

            if (Options.Bias is not null)
            {
                score += Case.Bias[BiasAt(j)];
            }

            if (Options.Alibi)
            {
                score -= Case.AlibiSlopes[Head] * Math.Abs(Position - (j + Case.KeyPositionOffset));
            }

            return (score, slope);
        }

        private bool IsVisible(long j)
        {
            long before = Position - (j + Case.KeyPositionOffset);
            if ((Options.Causal && before < 0)
                || (Options.Window?.Left is { } left && before > left)
                || (Options.Window?.Right is { } right && -before > right))
            {
                return false;
            }

            if (Options.AttentionChunk is { } chunk
                && Floor(Position, chunk) != Floor(j + Case.KeyPositionOffset, chunk))
            {
                return false;
            }

            return Options.Mask is not { } mask || Case.Mask[PairAt(j, mask.PerBatch, mask.PerHead)] != 0;
        }

        private long At(long j, long head, long heads, long dim)
        {
            if (Options.Paging is { } pages)
            {
                long page = Case.BlockTable[(Entry * pages.MaxPagesPerSequence) + (j / pages.PageSize)];
                return ((((page * pages.PageSize) + (j % pages.PageSize)) * heads) + head) * dim;
            }

            return ((((Batch * heads) + head) * Shape.KeyLength) + FirstKey + j) * dim;
        }

        private long PairAt(long j, bool perBatch, bool perHead)
        {
            long heads = perHead ? Shape.QueryHeads : 1;
            long matrix = ((perBatch ? Entry : 0) * heads) + (perHead ? Head : 0);
            return (((matrix * Case.PairRows) + Index) * Case.PairColumns) + j;
        }

        private static long Floor(long a, long b) => (long)Math.Floor((double)a / b);
    }
}
