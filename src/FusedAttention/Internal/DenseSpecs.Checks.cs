// The checks of a run that the softmax families share. Called by the plan classes before native code.
namespace FusedAttention.Internal;

internal sealed unsafe partial class DenseSpecs
{
    /// <summary>Throws unless queries, keys and values are what the plan expects.</summary>
    internal void CheckInputs<T>(in TensorIn<T> query, in TensorIn<T> key, in TensorIn<T> value)
        where T : unmanaged
    {
        Query.Check(in query);
        Key.Check(in key);
        Value.Check(in value);
    }

    /// <summary>Throws unless the results of a forward run are; the LSE may be left out.</summary>
    internal void CheckOutputs<T>(in TensorOut<T> output, in TensorOut<float> lse)
        where T : unmanaged
    {
        Output.Check(in output);
        Lse.CheckIfGiven(in lse);
    }

    /// <summary>Throws unless what a backward run takes from the forward run is.</summary>
    internal void CheckForwardResults<T>(in TensorIn<T> output, in TensorIn<float> lse)
        where T : unmanaged
    {
        Output.Check(in output);
        Lse.Check(in lse);
    }

    /// <summary>Throws unless the gradients that come in are; that of the LSE may be left out.</summary>
    internal void CheckIncoming<T>(in TensorIn<T> gradOutput, in TensorIn<float> gradLse)
        where T : unmanaged
    {
        GradOutput.Check(in gradOutput);
        GradLse.CheckIfGiven(in gradLse);
    }

    /// <summary>Throws unless the gradients of the inputs are; each may be left out.</summary>
    internal void CheckGradients<T>(in TensorOut<T> query, in TensorOut<T> key, in TensorOut<T> value)
        where T : unmanaged
    {
        GradQuery.CheckIfGiven(in query);
        GradKey.CheckIfGiven(in key);
        GradValue.CheckIfGiven(in value);
    }
}
