// What a user of the package writes first: causal attention over arrays. The first row sees one key, so it equals its value.
using System;
using FusedAttention;

const int Heads = 4, Length = 100, HeadDim = 64;
var random = new Random(1);
float[] query = Normal(), key = Normal(), value = Normal(), output = new float[query.Length];

DenseAttention.Forward<float>(
    query, key, value, output, new AttentionShape(1, Heads, Length, HeadDim), new DenseOptions { Causal = true });

for (int d = 0; d < HeadDim; ++d)
{
    if (Math.Abs(output[d] - value[d]) > 1e-5f)
    {
        Console.Error.WriteLine($"element {d} of the first row is {output[d]}, expected {value[d]}");
        return 1;
    }
}

Console.WriteLine($"{output[0]} with {AttentionDevice.Cpu.Describe().Target} from {NativeRuntime.Probe().LibraryPath}");
return 0;

float[] Normal()
{
    var values = new float[Heads * Length * HeadDim];
    for (int i = 0; i < values.Length; ++i)
    {
        values[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
    }

    return values;
}
