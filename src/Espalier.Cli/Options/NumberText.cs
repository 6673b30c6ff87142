using System.Globalization;
using System.Numerics;

namespace Espalier.Cli.Options;

/// <summary>
/// Numbers as users type them: a decimal point and nothing between digits, wherever the user lives. A comma that was read as
/// a separator of thousands would train at a rate of 1 where 0,001 was meant.
/// </summary>
internal static class NumberText
{
    /// <summary>The number; null where it is none, or not from <paramref name="low"/> to <paramref name="high"/>.</summary>
    public static T? Parse<T>(string text, T low, T high)
        where T : struct, INumber<T> =>
        T.TryParse(text, IsWhole<T>() ? NumberStyles.AllowLeadingSign : Decimal, CultureInfo.InvariantCulture, out T value)
        && value >= low && value <= high ? value : null;

    /// <summary>
    /// What was probably meant by a text that is no number, as " (do you mean 0.5?)": a decimal comma, digits in groups, a
    /// percentage or a fraction. Nothing where that is none that is allowed.
    /// </summary>
    public static string Hint<T>(string text, T low, T high)
        where T : struct, INumber<T>
    {
        string[] meant = [.. Readings(text, IsWhole<T>()).Where(r => Parse(r, low, high) is not null).Distinct()];
        return meant.Length == 0 ? "" : $" (do you mean {string.Join(" or ", meant)}?)";
    }

    /// <summary>What can be called a whole number, in messages too.</summary>
    public static bool IsWhole<T>()
        where T : INumber<T> => T.IsInteger(T.One / (T.One + T.One));

    private const NumberStyles Decimal =
        NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;

    private static IEnumerable<string> Readings(string text, bool whole)
    {
        if (text.EndsWith('%') && Real(text[..^1].Replace(',', '.')) is { } percent) yield return Written(percent / 100);
        string[] parts = text.Split('/');
        if (parts.Length == 2 && Real(parts[0]) is { } above && Real(parts[1]) is { } below && below != 0)
            yield return Written(above / below);
        if (!whole && text.Count(c => c == ',') == 1 && Real(text.Replace(',', '.')) is { } comma) yield return Written(comma);
        string digits = string.Concat(text.Where(c => c is not (',' or '.' or '_' or '\'' or ' ')));
        bool grouped = digits.Length < text.Length && digits.All(char.IsAsciiDigit)
            && text.Split(',', '.', '_', '\'', ' ') is [{ Length: >= 1 and <= 3 } first, .. var groups]
            && first != "0" && groups.All(g => g.Length == 3);
        if (grouped) yield return digits;
    }

    private static double? Real(string text) =>
        double.TryParse(text, Decimal, CultureInfo.InvariantCulture, out double value) && double.IsFinite(value) ? value : null;

    // Sixteen digits would say 0.07000000000000001 for 7 %.
    private static string Written(double value) => value.ToString("0.##########", CultureInfo.InvariantCulture);
}
