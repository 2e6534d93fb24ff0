// Loads the tensors of one run, makes its results and keeps both; each family's run adds the plan and its calls.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

/// <summary>Owns all tensors of the run; outputs and gradients are float whatever the inputs are.</summary>
/// <typeparam name="T">Type the inputs are computed in: float, Half or BFloat16.</typeparam>
internal abstract class FamilyRun<T> : IDisposable
    where T : unmanaged
{
    private readonly FamilyInputs _inputs;
    private readonly List<IDisposable> _tensors = [];
    private readonly List<OutputTensor> _results = [];
    private Action<string> _progress = static _ => { };

    protected FamilyRun(FamilyInputs inputs)
    {
        _inputs = inputs;
    }

    /// <summary>Makes the plan and runs it, forward and where asked backward.</summary>
    /// <param name="device">Where.</param>
    /// <param name="progress">Is told in a few words what is being done.</param>
    /// <returns>The results in the order they were made; their memory is this object's.</returns>
    /// <exception cref="BadInputException">The library refuses shape or options.</exception>
    internal IReadOnlyList<OutputTensor> Run(AttentionDevice device, Action<string> progress)
    {
        _progress = progress;
        Compute(device);
        return _results;
    }

    /// <summary>Why the problem cannot run on a GPU; null when it can.</summary>
    internal abstract string? WhyNotOn(CudaDevice device);

    public void Dispose()
    {
        foreach (IDisposable tensor in _tensors)
        {
            tensor.Dispose();
        }
    }

    /// <summary>Makes plan and tensors, and calls the library.</summary>
    protected abstract void Compute(AttentionDevice device);

    /// <summary>Says what is about to be done.</summary>
    protected void Report(string words) => _progress(words);

    /// <summary>Makes a plan; what the library refuses about it is the caller's input at fault.</summary>
    protected static TPlan MakePlan<TPlan>(Func<TPlan> make)
    {
        try
        {
            return make();
        }
        catch (ArgumentException error)
        {
            throw new BadInputException(error.Message, error);
        }
    }

    protected HostTensor<TElement> Load<TElement>(TensorEntry entry)
        where TElement : unmanaged
    {
        Report($"reading {entry.Name}");
        return Keep(TensorLoader.Load<TElement>(_inputs.Tensors.Reader, entry));
    }

    /// <summary>An absent tensor stays null, which the library takes as not given.</summary>
    protected HostTensor<TElement>? LoadOptional<TElement>(TensorEntry? entry)
        where TElement : unmanaged => entry is null ? null : Load<TElement>(entry);

    /// <summary>The result "o", in the problem's layout.</summary>
    protected TensorOut<T> MakeOutput()
    {
        AttentionShape shape = _inputs.Shape;
        return TensorOut<T>.Float32(
            MakeResult("o", _inputs.Arrange(shape.QueryHeads, shape.QueryLength, shape.ValueHeadDim)));
    }

    /// <summary>
    /// The gradient of a float output is float itself; it is still rounded to the type of the call first.
    /// </summary>
    protected TensorIn<T> LoadOutputGradient(TensorEntry entry)
    {
        if (typeof(T) == typeof(float))
        {
            return TensorIn<T>.Float32(Load<float>(entry));
        }

        using HostTensor<T> rounded = TensorLoader.Load<T>(_inputs.Tensors.Reader, entry);
        HostTensor<float> widened = Keep(new HostTensor<float>(entry.Shape));
        Widen(rounded, widened);
        return TensorIn<T>.Float32(widened);
    }

    /// <summary>Copies 16-bit elements as floats.</summary>
    private static void Widen(HostTensor<T> from, HostTensor<float> to)
    {
        TensorDtype dtype = typeof(T) == typeof(Half) ? TensorDtype.F16 : TensorDtype.BF16;
        for (long at = 0; at < from.Length; at += 1 << 20)
        {
            int count = (int)Math.Min(1 << 20, from.Length - at);
            ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(from.Buffer.AsSpan(at, count));
            ElementConversion.ToSingle(dtype, bytes, to.Buffer.AsSpan(at, count));
        }
    }

    /// <summary>Makes a tensor that goes into the output file under this name.</summary>
    protected HostTensor<float> MakeResult(string name, params ReadOnlySpan<long> shape)
    {
        HostTensor<float> tensor = Keep(new HostTensor<float>(shape));
        _results.Add(TensorLoader.Store(name, tensor));
        return tensor;
    }

    /// <summary>As MakeResult, of 32-bit indices.</summary>
    protected HostTensor<int> MakeIndexResult(string name, params ReadOnlySpan<long> shape)
    {
        HostTensor<int> tensor = Keep(new HostTensor<int>(shape));
        _results.Add(TensorLoader.Store(name, TensorDtype.I32, tensor));
        return tensor;
    }

    /// <summary>As MakeResult, of bytes.</summary>
    protected HostTensor<byte> MakeByteResult(string name, params ReadOnlySpan<long> shape)
    {
        HostTensor<byte> tensor = Keep(new HostTensor<byte>(shape));
        _results.Add(TensorLoader.Store(name, TensorDtype.U8, tensor));
        return tensor;
    }

    /// <summary>Copies an index tensor of the file.</summary>
    protected void ReadIndices(TensorEntry entry, HostTensor<int> to) =>
        TensorLoader.LoadIndices(_inputs.Tensors.Reader, entry).CopyTo(to.AsSpan());

    /// <summary>Copies a tensor of bytes of the file.</summary>
    protected void ReadBytes(TensorEntry entry, HostTensor<byte> to) =>
        _inputs.Tensors.Reader.Read(entry, (bytes, first) => bytes.CopyTo(to.Buffer.AsSpan(first, bytes.Length)));

    /// <summary>The result "lse", [B, Hq, Lq]: until it is written, every row sees nothing.</summary>
    protected HostTensor<float> MakeLse()
    {
        AttentionShape shape = _inputs.Shape;
        HostTensor<float> lse = MakeResult("lse", shape.Batch, shape.QueryHeads, shape.QueryLength);
        for (long at = 0; at < lse.Length; at += int.MaxValue)
        {
            lse.Buffer.AsSpan(at, (int)Math.Min(int.MaxValue, lse.Length - at)).Fill(float.NegativeInfinity);
        }

        return lse;
    }

    /// <summary>The results "dq", "dk" and "dv", each with the shape of its tensor.</summary>
    protected (HostTensor<float> Query, HostTensor<float> Key, HostTensor<float> Value) MakeGradients() =>
        (MakeResult("dq", _inputs.Q.Shape), MakeResult("dk", _inputs.K.Shape), MakeResult("dv", _inputs.V.Shape));

    private HostTensor<TElement> Keep<TElement>(HostTensor<TElement> tensor)
        where TElement : unmanaged
    {
        _tensors.Add(tensor);
        return tensor;
    }
}
