// What the verbs need to know about one family of attention; FamilyRegistry lists those that can run.
using System.Collections.Generic;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Families;

internal abstract class AttentionFamily
{
    internal abstract Family Family { get; }

    /// <summary>The name that problem files use.</summary>
    internal string Name => ProblemReader.NameOf(Family);

    /// <summary>The family's own problem fields with their defaults; those that all have are said elsewhere.</summary>
    internal abstract string FieldsHelp { get; }

    /// <summary>Input tensors with their shapes.</summary>
    internal abstract string TensorsHelp { get; }

    /// <summary>Output tensors, and those that "backward": true adds.</summary>
    internal abstract string ResultsHelp { get; }

    protected virtual string[] RequiredTensors => ["q", "k", "v"];

    protected abstract string[] OptionalTensors { get; }

    /// <summary>Checks names, shapes and types of all tensors; their contents are not read.</summary>
    /// <exception cref="BadInputException">A tensor is missing, unknown, or does not fit.</exception>
    internal FamilyInputs FindInputs(Problem problem, SafetensorsReader reader) =>
        MakeInputs(problem, new TensorSet(Name, reader, RequiredTensors, OptionalTensors));

    /// <summary>The schedule of a problem, ready for text and picture.</summary>
    /// <exception cref="UnsupportedException">The family has no schedule of tiles.</exception>
    internal abstract ScheduleDrawing Draw(Problem problem, DrawSizes sizes, AttentionDevice device);

    /// <summary>What demo measures, at real sizes.</summary>
    /// <param name="divisor">Lengths are divided by it, for a quick look.</param>
    internal abstract IEnumerable<MeasuredCase> DemoCases(long divisor);

    /// <summary>What demo draws; none for a family without a schedule of tiles.</summary>
    internal abstract IEnumerable<PatternMap> DemoMaps(AttentionDevice device);

    /// <summary>What bench measures; the names are stable.</summary>
    internal abstract IEnumerable<MeasuredCase> BenchCases();

    /// <summary>How cost grows with size, measured and plotted by bench; null where that says nothing.</summary>
    internal virtual ScalingSeries? Scaling => null;

    /// <param name="problem">The family's own kind of problem.</param>
    /// <param name="tensors">A file that has the required tensors and no unknown ones.</param>
    protected abstract FamilyInputs MakeInputs(Problem problem, TensorSet tensors);
}
