// The tensors of one problem in a file: their names are checked here, their shapes by each family's inputs.
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Running;

internal sealed class TensorSet
{
    /// <param name="family">The family's name, for messages.</param>
    /// <param name="reader">The file; not disposed here.</param>
    /// <param name="required">Tensors that must be there.</param>
    /// <param name="optional">Tensors that may be there.</param>
    /// <exception cref="BadInputException">A tensor is missing or unknown.</exception>
    internal TensorSet(string family, SafetensorsReader reader, string[] required, string[] optional)
    {
        Reader = reader;
        foreach (string name in reader.Tensors.Keys)
        {
            if (!required.Contains(name) && !optional.Contains(name))
            {
                throw new BadInputException(
                    $"{reader.Source} has tensor {StrictJson.Quote(name)}, which {family} does not" +
                    $" know; its tensors are {string.Join(", ", required)} and maybe {string.Join(", ", optional)}");
            }
        }

        foreach (string name in required)
        {
            if (!reader.Tensors.ContainsKey(name))
            {
                string needed = $"{string.Join(", ", required[..^1])} and {required[^1]}";
                throw Missing(name, $"{family} needs {needed}");
            }
        }
    }

    internal SafetensorsReader Reader { get; }

    /// <summary>A tensor that is known to be there.</summary>
    internal TensorEntry this[string name] => Reader.Tensors[name];

    internal TensorEntry? Find(string name) => Reader.Tensors.GetValueOrDefault(name);

    internal BadInputException Missing(string name, string reason) =>
        new($"{Reader.Source} lacks the tensor \"{name}\"; {reason}");
}
