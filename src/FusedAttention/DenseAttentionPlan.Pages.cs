// The run of a paged dense plan whose pages lie on a GPU while queries and results lie in host memory. Called by the
// cache of S2 attention.
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class DenseAttentionPlan<T>
{
    /// <summary>Waits for its results.</summary>
    /// <param name="query">Queries.</param>
    /// <param name="output">Receives the output.</param>
    /// <param name="lse">Receives the LSE; default: not wanted.</param>
    /// <param name="pages">Keys, values, lengths and block table.</param>
    /// <param name="ready">Marks when these are there.</param>
    /// <param name="cancellationToken">Looked at before the run alone.</param>
    internal void ForwardOverPages(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse, in DenseDeviceForwardArguments<T> pages,
        CudaEvent ready, CancellationToken cancellationToken)
    {
        _specs.Query.Check(in query);
        _specs.CheckOutputs(in output, in lse);
        using HandleScope owners = default;
        owners.Add(Handle);
        owners.Add(query.Owner);
        owners.Add(output.Owner);
        owners.Add(lse.Owner);
        owners.Add(pages.Key.Owner);
        owners.Add(pages.Value.Owner);
        owners.Add(pages.KeyLengths.Owner);
        owners.Add(pages.BlockTable.Owner);
        fixed (void* q = query, o = output, l = lse)
        {
            using HostRun run = new(this, AttentionPass.Forward, 0, cancellationToken);
            fattn_dense_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_forward_args);
            native.flags = FlagsOfDeviceLengths;
            run.Input(&native.q, q, _specs.Query);
            run.Output(&native.o, o, _specs.Output);
            run.Output(&native.lse, l, _specs.Lse);
            native.k = (void*)pages.Key.Address;
            native.v = (void*)pages.Value.Address;
            native.kv_len = (int*)pages.KeyLengths.Address;
            native.block_table = (int*)pages.BlockTable.Address;
            fattn_run settings = run.Begin(ready);
            NativeCall.Check(
                NativeMethods.fattn_dense_forward(Handle.Pointer, &native, &settings), ForwardName, cancellationToken);
            run.End();
        }
    }
}
