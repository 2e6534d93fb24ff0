// An option that takes a number in a range, for the verbs that have such.
using System.CommandLine;
using System.Globalization;

namespace FusedAttention.Cli;

internal sealed class NumberOption
{
    private readonly double _min;
    private readonly double _max;
    private readonly bool _isWhole;

    /// <param name="name">With its dashes.</param>
    /// <param name="description">One line of help; says the default.</param>
    /// <param name="min">The least value.</param>
    /// <param name="max">The largest value; int.MaxValue stands for no limit worth saying.</param>
    /// <param name="isWhole">Whether fractions are refused.</param>
    internal NumberOption(string name, string description, double min, double max = int.MaxValue, bool isWhole = true)
    {
        _min = min;
        _max = max;
        _isWhole = isWhole;
        Option = new Option<string>(name) { Description = description, HelpName = "N" };
    }

    internal Option<string> Option { get; }

    /// <summary>The number given, or null.</summary>
    /// <exception cref="BadInputException">What was given is no number in the range.</exception>
    internal double? Find(ParseResult parsed)
    {
        if (parsed.GetValue(Option) is not { } text)
        {
            return null;
        }

        NumberStyles styles = _isWhole ? NumberStyles.None : NumberStyles.AllowDecimalPoint;
        if (double.TryParse(text, styles, CultureInfo.InvariantCulture, out double number)
            && number >= _min && number <= _max)
        {
            return number;
        }

        string kind = _isWhole ? "a whole number" : "a number";
        string range = _max < int.MaxValue
            ? string.Create(CultureInfo.InvariantCulture, $"in {_min}..{_max}")
            : string.Create(CultureInfo.InvariantCulture, $"from {_min}");
        throw new BadInputException($"{Option.Name} is {StrictJson.Quote(text)}; expected {kind} {range}");
    }

    /// <summary>The number given, or the default.</summary>
    /// <exception cref="BadInputException">What was given is no number in the range.</exception>
    internal double Get(ParseResult parsed, double absent) => Find(parsed) ?? absent;
}
