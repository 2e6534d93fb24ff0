// Tells in which file each declaration of clang's syntax tree stands. Used by HeaderReader.
using System.Text.Json;

namespace FusedAttention.BindingGenerator;

/// <summary>
/// Follows a tree in its order: clang names the file of a place only where it differs from the file of the place before.
/// </summary>
internal sealed class DeclarationFiles
{
    private string? _file;

    /// <summary>
    /// The file of the next top-level declaration, as clang was given or found it; null for what clang declares itself.
    /// </summary>
    public string? Next(JsonElement declaration)
    {
        string? file = null;
        foreach (JsonProperty property in declaration.EnumerateObject())
        {
            Follow(property.Value);
            if (property.NameEquals("loc"))
            {
                file = _file;
            }
        }

        return declaration.TryGetProperty("isImplicit", out _) ? null : file;
    }

    private void Follow(JsonElement element)
    {
        if (element.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement item in element.EnumerateArray())
            {
                Follow(item);
            }
        }
        else if (element.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty property in element.EnumerateObject())
            {
                if (property.NameEquals("file"))
                {
                    _file = property.Value.GetString();
                }
                else if (!property.NameEquals("includedFrom"))
                {
                    Follow(property.Value);
                }
            }
        }
    }
}
