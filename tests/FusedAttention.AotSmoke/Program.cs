// The program that CI compiles ahead of time: runs attention in every element type, forward and backward, and checks it.
using System;
using System.Linq;
using FusedAttention;

const int Heads = 2, Length = 75, HeadDim = 48;
const int Count = Heads * Length * HeadDim;

NativeRuntimeReport report = NativeRuntime.Probe();
Console.WriteLine($"managed {report.ManagedVersion}, native {report.NativeVersion} from {report.LibraryPath}");
Console.WriteLine($"{AttentionDevice.Cpu.Describe().Name}: {AttentionDevice.Cpu.Describe().Reason}");

var shape = new AttentionShape(1, Heads, Length, HeadDim);
float[] query = Values(1), key = Values(2), value = Values(3), gradOutput = Values(4);
double[] expected = Expected(query, key, value);
bool good = true;

float[] output = new float[Count];
DenseAttention.Forward<float>(query, key, value, output, shape, new DenseOptions { Causal = true });
Check("f32 forward", Enumerable.Range(0, Count).Max(i => Math.Abs(output[i] - expected[i])), 1e-5);

CheckPlan("f16 plan", x => (Half)x, x => (float)x, 5e-3);
CheckPlan("bf16 plan", x => (BFloat16)x, x => (float)x, 4e-2);
CheckBackward();

try
{
    DenseAttention.Forward<float>(query.AsSpan(1), key, value, output, shape);
    Check("a short span is refused", 1, 0);
}
catch (ArgumentException error)
{
    Console.WriteLine($"ok    a short span is refused: {error.Message}");
}

return good ? 0 : 1;

void Check(string name, double error, double limit)
{
    bool passed = error <= limit;
    good &= passed;
    Console.WriteLine($"{(passed ? "ok   " : "FAIL ")} {name}: error {error:g3}, allowed {limit:g3}");
}

void CheckPlan<T>(string name, Func<float, T> from, Func<T, float> to, double limit)
    where T : unmanaged
{
    using var plan = new DenseAttentionPlan<T>(shape, new DenseOptions { Causal = true });
    T[] q = Array.ConvertAll(query, x => from(x)), k = Array.ConvertAll(key, x => from(x));
    T[] v = Array.ConvertAll(value, x => from(x)), o = new T[Count];
    plan.Forward(q, k, v, o);
    Check(name, Enumerable.Range(0, Count).Max(i => Math.Abs(to(o[i]) - expected[i])), limit);
}

// Two exact laws. The output is linear in the values: <dV, V> = <dO, O>. Scores are products: <dQ, Q> = <dK, K>.
void CheckBackward()
{
    using var plan = new DenseAttentionPlan<float>(shape, new DenseOptions { Causal = true, Backward = true });
    float[] lse = new float[Heads * Length];
    float[] gradQuery = new float[Count], gradKey = new float[Count], gradValue = new float[Count];
    plan.Forward(query, key, value, output, lse);
    plan.Backward(new DenseBackwardArguments<float>
    {
        Query = query,
        Key = key,
        Value = value,
        Output = output,
        Lse = lse,
        GradOutput = gradOutput,
        GradQuery = gradQuery,
        GradKey = gradKey,
        GradValue = gradValue,
    });
    Check("<dV, V> = <dO, O>", Math.Abs(Dot(gradValue, value) - Dot(gradOutput, output)), 1e-3);
    Check("<dQ, Q> = <dK, K>", Math.Abs(Dot(gradQuery, query) - Dot(gradKey, key)), 1e-3);
    Check("gradients are not zero", gradQuery.Any(x => Math.Abs(x) > 1e-3f) ? 0 : 1, 0);
}

static double Dot(float[] a, float[] b) => a.Zip(b, (x, y) => (double)x * y).Sum();

static float[] Values(int seed)
{
    var random = new Random(seed);
    return Enumerable.Range(0, Count).Select(_ => (float)((random.NextDouble() * 2) - 1)).ToArray();
}

static double[] Expected(float[] q, float[] k, float[] v)
{
    double[] result = new double[Count];
    for (int row = 0; row < Heads * Length; ++row)
    {
        int firstKey = row / Length * Length;
        double sum = 0;
        for (int j = firstKey; j <= row; ++j)
        {
            double dot = Enumerable.Range(0, HeadDim).Sum(d => (double)q[(row * HeadDim) + d] * k[(j * HeadDim) + d]);
            double weight = Math.Exp(dot / Math.Sqrt(HeadDim));
            sum += weight;
            for (int d = 0; d < HeadDim; ++d)
            {
                result[(row * HeadDim) + d] += weight * v[(j * HeadDim) + d];
            }
        }

        for (int d = 0; d < HeadDim; ++d)
        {
            result[(row * HeadDim) + d] /= sum;
        }
    }

    return result;
}
