// Joins attention results over disjoint sets of keys. Used by callers who split keys over calls or machines.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Merges partial results into the result over all keys.</summary>
/// <remarks>
/// LSE = log(sum exp(LSE_r)), O = sum exp(LSE_r - LSE) O_r. A part whose LSE is -inf counts as absent. Backward: run
/// each part's own backward with the merged output and LSE and the gradient of the merged output. Thread-safe.
/// </remarks>
public static unsafe class AttentionMerge
{
    private const string Operation = "AttentionMerge.Merge";

    /// <summary>Merges two parts.</summary>
    /// <typeparam name="T">Type of the outputs: float, Half or BFloat16.</typeparam>
    /// <param name="firstOutput">Output of the first part, [B, Hq, Lq, Dv].</param>
    /// <param name="firstLse">LSE of the first part, [B, Hq, Lq].</param>
    /// <param name="secondOutput">Output of the second part.</param>
    /// <param name="secondLse">LSE of the second part.</param>
    /// <param name="output">Receives the merged output; may be the memory of one part.</param>
    /// <param name="lse">Receives the merged LSE; may be the memory of one part's; default: not wanted.</param>
    /// <param name="shape">The shape of the attention calls; only their output matters here.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <param name="maxThreads">Most threads to use, 0 for the device's own number.</param>
    /// <exception cref="ArgumentException">A tensor is not what the shape says.</exception>
    /// <exception cref="AttentionException">The native library refuses the call, and says why.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device, or a tensor's memory, was disposed.</exception>
    public static void Merge<T>(
        TensorIn<T> firstOutput, TensorIn<float> firstLse, TensorIn<T> secondOutput, TensorIn<float> secondLse,
        TensorOut<T> output, TensorOut<float> lse, AttentionShape shape, AttentionDevice? device = null,
        int maxThreads = 0)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        ElementType element = ElementTypeOf<T>.Float;
        TensorSpec outputSpec = DenseSpecs.OutputSpec(shape, element, "output");
        TensorSpec lseSpec = DenseSpecs.LseSpec(shape, "lse");
        outputSpec.Check(in firstOutput);
        outputSpec.Check(in secondOutput);
        outputSpec.Check(in output);
        lseSpec.Check(in firstLse);
        lseSpec.Check(in secondLse);
        lseSpec.CheckIfGiven(in lse);
        using HandleScope owners = default;
        owners.Add(firstOutput.Owner);
        owners.Add(secondOutput.Owner);
        owners.Add(output.Owner);
        owners.Add(firstLse.Owner);
        owners.Add(secondLse.Owner);
        owners.Add(lse.Owner);
        fixed (void* o0 = firstOutput, o1 = secondOutput, l0 = firstLse, l1 = secondLse, o = output, l = lse)
        {
            void** outputs = stackalloc void*[2] { o0, o1 };
            float** lses = stackalloc float*[2] { (float*)l0, (float*)l1 };
            Run(shape, element, 2, outputs, lses, o, (float*)l, device, maxThreads);
        }
    }

    /// <summary>Merges any number of parts that lie one after the other.</summary>
    /// <typeparam name="T">Type of the outputs: float, Half or BFloat16.</typeparam>
    /// <param name="parts">Number of parts, at least 1.</param>
    /// <param name="outputs">Outputs of all parts, [parts, B, Hq, Lq, Dv], contiguous.</param>
    /// <param name="lses">LSEs of all parts, [parts, B, Hq, Lq], contiguous.</param>
    /// <param name="output">Receives the merged output, [B, Hq, Lq, Dv].</param>
    /// <param name="lse">Receives the merged LSE; default: not wanted.</param>
    /// <param name="shape">The shape of the attention calls; only their output matters here.</param>
    /// <param name="device">Where to run; null: <see cref="AttentionDevice.Cpu"/>.</param>
    /// <param name="maxThreads">Most threads to use, 0 for the device's own number.</param>
    /// <exception cref="ArgumentException">A tensor is not what the shape says, the shape gives output strides, or
    /// there is no part.</exception>
    /// <exception cref="AttentionException">The native library refuses the call, and says why.</exception>
    /// <exception cref="NotSupportedException">Attention does not compute in <typeparamref name="T"/>.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <exception cref="ObjectDisposedException">The device, or a tensor's memory, was disposed.</exception>
    public static void Merge<T>(
        int parts, TensorIn<T> outputs, TensorIn<float> lses, TensorOut<T> output, TensorOut<float> lse,
        AttentionShape shape, AttentionDevice? device = null, int maxThreads = 0)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(parts);
        if (shape.OutputStrides is not null)
        {
            throw new ArgumentException(
                "OutputStrides were given; parts that lie one after the other are contiguous.", nameof(shape));
        }

        ElementType element = ElementTypeOf<T>.Float;
        long rows = checked(shape.Batch * shape.QueryHeads * shape.QueryLength);
        new TensorSpec("outputs", element, [parts, rows, shape.ValueHeadDim]).CheckLength(outputs.Length);
        new TensorSpec("lses", ElementType.Float32, [parts, rows]).CheckLength(lses.Length);
        DenseSpecs.OutputSpec(shape, element, "output").Check(in output);
        DenseSpecs.LseSpec(shape, "lse").CheckIfGiven(in lse);
        using HandleScope owners = default;
        owners.Add(outputs.Owner);
        owners.Add(lses.Owner);
        owners.Add(output.Owner);
        owners.Add(lse.Owner);
        nint partBytes = checked((nint)(rows * shape.ValueHeadDim * sizeof(T)));
        fixed (byte* firstOutput = outputs, firstLse = lses)
        fixed (void* o = output, l = lse)
        {
            nint[] outputTable = new nint[parts];
            nint[] lseTable = new nint[parts];
            for (int i = 0; i < parts; ++i)
            {
                outputTable[i] = (nint)firstOutput + (i * partBytes);
                lseTable[i] = (nint)firstLse + (nint)(i * rows * sizeof(float));
            }

            fixed (nint* outputPointers = outputTable, lsePointers = lseTable)
            {
                Run(
                    shape, element, parts, (void**)outputPointers, (float**)lsePointers, o, (float*)l, device,
                    maxThreads);
            }
        }
    }

    private static void Run(
        AttentionShape shape, ElementType element, int parts, void** outputs, float** lses, void* output, float* lse,
        AttentionDevice? device, int maxThreads)
    {
        fattn_merge_args native = default;
        native.struct_size = (uint)sizeof(fattn_merge_args);
        native.part = DenseSpecs.CreateProblem(shape, DenseAttention.DefaultOptions, element).o;
        native.o_layout = native.part;
        native.num_parts = parts;
        native.o_parts = outputs;
        native.lse_parts = lses;
        native.o = output;
        native.lse = lse;
        device ??= AttentionDevice.Cpu;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        using var run = new RunScope(maxThreads, CancellationToken.None);
        fattn_run settings = run.Settings;
        NativeCall.Check(NativeMethods.fattn_merge(device.Handle.Pointer, &native, &settings), Operation);
    }
}
