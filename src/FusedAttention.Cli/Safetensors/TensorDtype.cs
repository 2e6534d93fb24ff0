// The element types a tensor file may hold; used by the safetensors reader, writer and loader.
namespace FusedAttention.Cli.Safetensors;

internal enum TensorDtype
{
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    U8,
}

internal static class TensorDtypes
{
    internal const string Allowed = "F64, F32, F16, BF16, I64, I32, U8";

    /// <summary>Reads the name as the file format spells it; false for every other text.</summary>
    internal static bool TryParse(string name, out TensorDtype dtype)
    {
        (bool known, dtype) = name switch
        {
            "F64" => (true, TensorDtype.F64),
            "F32" => (true, TensorDtype.F32),
            "F16" => (true, TensorDtype.F16),
            "BF16" => (true, TensorDtype.BF16),
            "I64" => (true, TensorDtype.I64),
            "I32" => (true, TensorDtype.I32),
            "U8" => (true, TensorDtype.U8),
            _ => (false, default),
        };
        return known;
    }

    internal static int SizeInBytes(this TensorDtype dtype) => dtype switch
    {
        TensorDtype.F64 or TensorDtype.I64 => 8,
        TensorDtype.F32 or TensorDtype.I32 => 4,
        TensorDtype.F16 or TensorDtype.BF16 => 2,
        _ => 1,
    };

    internal static bool IsFloat(this TensorDtype dtype) =>
        dtype is TensorDtype.F64 or TensorDtype.F32 or TensorDtype.F16 or TensorDtype.BF16;
}
