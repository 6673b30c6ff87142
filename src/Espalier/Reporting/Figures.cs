using System.Globalization;

namespace Espalier.Reporting;

/// <summary>Numbers as text, the same way everywhere: a thin space before a unit, a true minus, "–" for the unknown.</summary>
internal static class Figures
{
    private const string Thin = "\u202F", Unknown = "–", Minus = "\u2212";

    /// <summary>0.9123 -> "91.2 %".</summary>
    public static string Percent(double share, int digits = 1) =>
        double.IsFinite(share) ? Fixed(share * 100, digits) + Thin + "%" : Unknown;

    /// <summary>The difference of two shares in percentage points: "+0.3".</summary>
    public static string Points(double difference, int digits = 1)
    {
        if (!double.IsFinite(difference)) return Unknown;
        double rounded = Math.Round(difference * 100, digits);
        return rounded == 0 ? "±" + Fixed(0, digits) : (rounded > 0 ? "+" : "") + Fixed(rounded, digits);
    }

    /// <summary>"1.72×", "12.3×".</summary>
    public static string Ratio(double ratio) =>
        double.IsFinite(ratio) ? (ratio < 9.995 ? Fixed(ratio, 2) : Significant(ratio)) + "×" : Unknown;

    /// <summary>A threshold as people type it: "0.5", "0.45".</summary>
    public static string Threshold(double threshold) => threshold.ToString("0.####", CultureInfo.InvariantCulture);

    /// <summary>Three digits and a prefix: 17.563e9 -> "17.6 G".</summary>
    public static string Si(double value)
    {
        if (!double.IsFinite(value)) return Unknown;
        string[] prefixes = ["", "k", "M", "G", "T", "P"];
        int p = 0;
        while (Math.Abs(value) >= 999.5 && p < prefixes.Length - 1) (value, p) = (value / 1000, p + 1);
        return p == 0 ? Significant(value) : Significant(value) + Thin + prefixes[p];
    }

    /// <summary>Three significant digits, none of them after the point from 100 on; thousands apart.</summary>
    public static string Significant(double value)
    {
        if (!double.IsFinite(value)) return Unknown;
        double size = Math.Abs(value);
        if (size >= 99.95) return Count(Math.Round(value));
        return size >= 9.995 ? Fixed(value, 1) : size >= 0.9995 || size == 0 ? Fixed(value, 2) : size >= 0.001 ? Fixed(value, 3)
            : value.ToString("0.##e+0", CultureInfo.InvariantCulture).Replace("-", Minus, StringComparison.Ordinal);
    }

    /// <summary>A whole number, thousands apart.</summary>
    public static string Count(double value) => double.IsFinite(value)
        ? value.ToString("#,0", CultureInfo.InvariantCulture).Replace(",", Thin, StringComparison.Ordinal)
            .Replace("-", Minus, StringComparison.Ordinal)
        : Unknown;

    /// <summary>Tokens on average: whole numbers as such, others with one digit.</summary>
    public static string Tokens(double mean) =>
        Math.Abs(mean - Math.Round(mean)) < 0.05 ? Count(Math.Round(mean)) : Fixed(mean, 1);

    public static string Value(double value, ValueFormat format) =>
        format == ValueFormat.Percent ? Percent(value, 2) : Significant(value);

    public static string Fixed(double value, int digits) =>
        value.ToString("F" + digits, CultureInfo.InvariantCulture).Replace("-", Minus, StringComparison.Ordinal);
}
