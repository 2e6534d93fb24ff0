// One random problem of causal linear attention with its truth in double precision. Used by the lightning tests.
using System;

namespace FusedAttention.Tests.Support;

internal sealed class LightningCase
{
    private LightningCase(AttentionShape shape)
    {
        Shape = shape;
    }

    public AttentionShape Shape { get; }

    public float[] Query { get; private init; } = [];

    public float[] Key { get; private init; } = [];

    public float[] Value { get; private init; } = [];

    public float[] GradOutput { get; private init; } = [];

    public float[] InitialState { get; private init; } = [];

    public float[] GradFinalState { get; private init; } = [];

    public float[] Slopes { get; private init; } = [];

    /// <summary>Numbers that <typeparamref name="T"/> holds exactly.</summary>
    public static LightningCase Create<T>(AttentionShape shape, int seed = 1)
        where T : unmanaged
    {
        var random = new Random(seed);
        long queries = shape.Batch * shape.QueryHeads * shape.QueryLength;
        long keys = shape.Batch * shape.KeyHeads * shape.KeyLength;
        long states = shape.Batch * shape.QueryHeads * shape.HeadDim * shape.ValueHeadDim;
        float[] slopes = new float[shape.QueryHeads];
        for (int h = 0; h < slopes.Length; ++h)
        {
            slopes[h] = h == 0 ? 0 : random.NextSingle();
        }

        return new LightningCase(shape)
        {
            Query = Numbers.Normal<T>(random, queries * shape.HeadDim),
            Key = Numbers.Normal<T>(random, keys * shape.HeadDim),
            Value = Numbers.Normal<T>(random, keys * shape.ValueHeadDim),
            GradOutput = Numbers.Normal<T>(random, queries * shape.ValueHeadDim),
            InitialState = Numbers.Normal<float>(random, states),
            GradFinalState = Numbers.Normal<float>(random, states),
            Slopes = slopes,
        };
    }

    /// <summary>Output, final state and gradients as sums over pairs of tokens.</summary>
    public LightningResult Truth()
    {
        AttentionShape s = Shape;
        int length = (int)s.QueryLength, d = (int)s.HeadDim, e = (int)s.ValueHeadDim;
        var result = new LightningResult
        {
            Output = new double[GradOutput.Length],
            FinalState = new double[InitialState.Length],
            GradQuery = new double[Query.Length],
            GradKey = new double[Key.Length],
            GradValue = new double[Value.Length],
            GradInitialState = new double[InitialState.Length],
        };
        for (int b = 0; b < s.Batch; ++b)
        {
            for (int h = 0; h < s.QueryHeads; ++h)
            {
                int queryHead = (int)((b * s.QueryHeads) + h);
                int keyHead = (int)((b * s.KeyHeads) + (h * s.KeyHeads / s.QueryHeads));
                int state = queryHead * d * e;
                for (int t = 0; t < length; ++t)
                {
                    int q = ((queryHead * length) + t) * d, o = ((queryHead * length) + t) * e;
                    int key = ((keyHead * length) + t) * d, value = ((keyHead * length) + t) * e;
                    double entry = Decay(h, t + 1), exit = Decay(h, length - 1 - t);
                    for (int i = 0; i < d; ++i)
                    {
                        for (int j = 0; j < e; ++j)
                        {
                            int at = state + (i * e) + j;
                            result.Output[o + j] += entry * Query[q + i] * InitialState[at];
                            result.GradQuery[q + i] += entry * GradOutput[o + j] * InitialState[at];
                            result.GradInitialState[at] += entry * Query[q + i] * GradOutput[o + j];
                            result.FinalState[at] += exit * Key[key + i] * Value[value + j];
                            result.GradKey[key + i] += exit * Value[value + j] * GradFinalState[at];
                            result.GradValue[value + j] += exit * Key[key + i] * GradFinalState[at];
                        }
                    }

                    for (int u = 0; u <= t; ++u)
                    {
                        int token = (keyHead * length) + u;
                        AddPair(result, Decay(h, t - u), (q, o), (token * d, token * e));
                    }
                }

                for (int at = state; at < state + (d * e); ++at)
                {
                    result.FinalState[at] += Decay(h, length) * InitialState[at];
                    result.GradInitialState[at] += Decay(h, length) * GradFinalState[at];
                }
            }
        }

        return result;
    }

    private void AddPair(LightningResult result, double decay, (int Query, int Output) row, (int Key, int Value) token)
    {
        double product = 0, gradient = 0;
        int d = (int)Shape.HeadDim, e = (int)Shape.ValueHeadDim;
        for (int i = 0; i < d; ++i)
        {
            product += decay * Query[row.Query + i] * Key[token.Key + i];
        }

        for (int j = 0; j < e; ++j)
        {
            gradient += decay * GradOutput[row.Output + j] * Value[token.Value + j];
            result.Output[row.Output + j] += product * Value[token.Value + j];
            result.GradValue[token.Value + j] += product * GradOutput[row.Output + j];
        }

        for (int i = 0; i < d; ++i)
        {
            result.GradQuery[row.Query + i] += gradient * Key[token.Key + i];
            result.GradKey[token.Key + i] += gradient * Query[row.Query + i];
        }
    }

    private double Decay(int head, int tokens) => Math.Exp(-(double)Slopes[head] * tokens);
}
