// Reads the results of an earlier bench run to compare with.
using System;
using System.Collections.Generic;
using System.Text.Json;

namespace FusedAttention.Cli.Measuring;

internal static class Baseline
{
    private const int MaxFileBytes = 16 << 20;

    /// <summary>Milliseconds by case name.</summary>
    /// <exception cref="BadInputException">The file is not a result file of bench.</exception>
    internal static Dictionary<string, double> ReadFile(string path) =>
        StrictJson.ParseObject(InputFile.ReadAll(path, MaxFileBytes), path, ReadCases);

    private static Dictionary<string, double> ReadCases(ref Utf8JsonReader reader, string source)
    {
        using JsonDocument document = JsonDocument.ParseValue(ref reader);
        if (!document.RootElement.TryGetProperty("cases", out JsonElement cases)
            || cases.ValueKind != JsonValueKind.Array)
        {
            throw new BadInputException(
                $"{source} has no array \"cases\"; expected a result file written by fattn bench");
        }

        Dictionary<string, double> times = new(StringComparer.Ordinal);
        foreach (JsonElement entry in cases.EnumerateArray())
        {
            if (entry.ValueKind != JsonValueKind.Object
                || !entry.TryGetProperty("name", out JsonElement name) || name.ValueKind != JsonValueKind.String
                || !entry.TryGetProperty("milliseconds", out JsonElement time) || time.ValueKind != JsonValueKind.Number
                || !time.TryGetDouble(out double milliseconds) || !(milliseconds > 0)
                || !times.TryAdd(StrictJson.Text(name, source), milliseconds))
            {
                throw new BadInputException(
                    $"{source} has a case without its own \"name\" and a positive \"milliseconds\"");
            }
        }

        return times;
    }
}
