// Runs dense attention in TorchSharp for compare.py, which starts it with dotnet and speaks JSON lines to it.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

if (args is ["--version"])
{
    Console.WriteLine(__version__);
    return;
}
float[] table = [];
var opened = new Dictionary<string, Func<Tensor>>();

for (string? line = Console.ReadLine(); line != null; line = Console.ReadLine())
{
    JsonNode request = JsonNode.Parse(line)!;
    JsonNode reply;
    try
    {
        using DisposeScope scope = NewDisposeScope();
        reply = Answer(request);
    }
    catch (Exception error) when (error is System.Runtime.InteropServices.ExternalException or InvalidOperationException)
    {
        reply = new JsonObject { ["error"] = error.Message.Split('\n')[0] };
    }
    Console.WriteLine(reply.ToJsonString());
}

JsonNode Answer(JsonNode request)
{
    switch ((string)request["do"]!)
    {
        case "start":
            set_num_threads((int)request["threads"]!);
            byte[] values = Convert.FromBase64String((string)request["values"]!);
            table = new float[values.Length / sizeof(float)];
            Buffer.BlockCopy(values, 0, table, 0, values.Length);
            string sharp = typeof(torch).Assembly.GetName().Version!.ToString(3);
            return new JsonObject { ["version"] = $"{sharp} with libtorch {__version__}" };
        case "open":
            return Open(request);
        case "run":
            return Run(opened[(string)request["variant"]!], (int)request["times"]!);
        default:
            opened.Clear();
            return new JsonObject();
    }
}

// [1, H, L, D] from the table; bf16 by dropping low bits, as on every side.
Tensor Filled(JsonNode request, string name, string heads, string length)
{
    JsonNode shape = request["shape"]!;
    long h = (long)shape[heads]!, l = (long)shape[length]!, d = (long)shape["head_dim"]!;
    bool narrow = (string)shape["dtype"]! == "bf16";
    int start = (int)request["starts"]![name]!;
    float[] numbers = new float[h * l * d];
    for (long n = 0; n < numbers.Length; n++)
    {
        float value = table[(start + n) % table.Length];
        numbers[n] = narrow ? BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0xFFFF0000) : value;
    }
    Tensor result = tensor(numbers, [1, h, l, d]);
    return narrow ? result.to_type(ScalarType.BFloat16) : result;
}

JsonNode Open(JsonNode request)
{
    JsonNode shape = request["shape"]!;
    bool backward = (bool)shape["backward"]!;
    Tensor q = Filled(request, "q", "q_heads", "q_len").requires_grad_(backward).DetachFromDisposeScope();
    Tensor k = Filled(request, "k", "kv_heads", "kv_len").requires_grad_(backward).DetachFromDisposeScope();
    Tensor v = Filled(request, "v", "kv_heads", "kv_len").requires_grad_(backward).DetachFromDisposeScope();
    string variant = (string)request["variant"]!;
    if (Forward(variant, shape, q, k, v) is not { } forward) return new JsonObject { ["error"] = "does not apply" };
    Func<Tensor> step = forward;
    if (backward)
    {
        Tensor gradient = Filled(request, "d_o", "q_heads", "q_len").DetachFromDisposeScope();
        Tensor o = forward().DetachFromDisposeScope();
        // The backward alone: the graph of one forward is kept and walked again.
        step = () => autograd.grad([o], [q, k, v], [gradient], retain_graph: true)[0];
    }
    float[] all = [.. step().detach().to_type(ScalarType.Float32).flatten().data<float>()];
    int samples = (int)request["samples"]!;
    IEnumerable<JsonNode> sample = Enumerable.Range(0, samples).Select(n => (JsonNode)all[(long)n * (all.Length - 1) / (samples - 1)]);
    opened[variant] = step;
    return new JsonObject { ["sample"] = new JsonArray([.. sample]) };
}

// What runs the variant forward; null where it does not exist.
Func<Tensor>? Forward(string variant, JsonNode shape, Tensor q, Tensor k, Tensor v)
{
    long length = q.shape[2], keys = k.shape[2], heads = k.shape[1], window = (long)shape["window"]!;
    bool causal = (bool)shape["causal"]!;
    if (q.shape[1] != heads)
    {
        // One row a head: a group's rows are those of one head of keys.
        Tensor folded = q.view(1, heads, q.shape[1] / heads * length, q.shape[3]).DetachFromDisposeScope();
        return variant == "sdpa" ? () => nn.functional.scaled_dot_product_attention(folded, k, v) : null;
    }
    Tensor? hidden = null;
    if (causal)
    {
        Tensor seen = ones(length, keys, ScalarType.Bool).tril();
        if (window > 0) seen = seen.logical_and(ones(length, keys, ScalarType.Bool).triu(1 - window));
        hidden = zeros(length, keys, q.dtype).masked_fill_(seen.logical_not(), float.NegativeInfinity).DetachFromDisposeScope();
    }
    double scale = 1 / Math.Sqrt(q.shape[3]);
    return variant switch
    {
        "sdpa" => window > 0
            ? () => nn.functional.scaled_dot_product_attention(q, k, v, hidden)
            : () => nn.functional.scaled_dot_product_attention(q, k, v, is_casual: causal),
        "operations" => () =>
        {
            Tensor scores = matmul(q * scale, k.transpose(-1, -2));
            return matmul(nn.functional.softmax(hidden is null ? scores : scores + hidden, -1), v);
        },
        _ => null,
    };
}

static JsonNode Run(Func<Tensor> step, int times)
{
    Once(step); // not timed, as on every side
    using Process self = Process.GetCurrentProcess();
    self.Refresh();
    TimeSpan processor = self.TotalProcessorTime;
    long begin = Stopwatch.GetTimestamp();
    for (int n = 0; n < times; n++) Once(step);
    double wall = Stopwatch.GetElapsedTime(begin).TotalSeconds;
    self.Refresh();
    return new JsonObject { ["wall"] = wall / times, ["cpu"] = (self.TotalProcessorTime - processor).TotalSeconds / times };
}

static void Once(Func<Tensor> step)
{
    using DisposeScope scope = NewDisposeScope();
    step();
}
