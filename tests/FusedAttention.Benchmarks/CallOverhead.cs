// Question: what does the managed layer add to the native call? The baseline is that call with pinned pointers.
using System;
using BenchmarkDotNet.Attributes;
using FusedAttention.Interop;

namespace FusedAttention.Benchmarks;

/// <summary>The smallest problem there is, so that the call itself is what is measured.</summary>
[MemoryDiagnoser]
public unsafe class CallOverhead : IDisposable
{
    private const int HeadDim = 16;

    private readonly float[] _query = new float[HeadDim];
    private readonly float[] _key = new float[HeadDim];
    private readonly float[] _value = new float[HeadDim];
    private readonly float[] _output = new float[HeadDim];
    private readonly AttentionShape _shape = new(1, 1, 1, HeadDim);
    private DenseAttentionPlan<float> _plan = null!;

    /// <summary>Makes the plan.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var random = new Random(1);
        foreach (float[] tensor in (float[][])[_query, _key, _value])
        {
            for (int i = 0; i < tensor.Length; ++i)
            {
                tensor[i] = random.NextSingle();
            }
        }

        _plan = new DenseAttentionPlan<float>(_shape);
    }

    /// <summary>Releases it.</summary>
    [GlobalCleanup]
    public void Dispose()
    {
        _plan.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>The generated function, arguments filled in by hand.</summary>
    [Benchmark(Baseline = true)]
    public void NativeCall()
    {
        fixed (float* q = _query, k = _key, v = _value, o = _output)
        {
            fattn_dense_forward_args arguments = default;
            arguments.struct_size = (uint)sizeof(fattn_dense_forward_args);
            arguments.q = q;
            arguments.k = k;
            arguments.v = v;
            arguments.o = o;
            if (NativeMethods.fattn_dense_forward(
                _plan.Handle.Pointer, &arguments, null) != fattn_status.FATTN_STATUS_OK)
            {
                throw new InvalidOperationException("The native call failed.");
            }
        }
    }

    /// <summary>A plan's own method.</summary>
    [Benchmark]
    public void Plan() => _plan.Forward(_query, _key, _value, _output);

    /// <summary>The one-call method, which looks its plan up.</summary>
    [Benchmark]
    public void OneCall() => DenseAttention.Forward<float>(_query, _key, _value, _output, _shape);
}
