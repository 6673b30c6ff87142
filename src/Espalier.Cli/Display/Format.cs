using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Cli.Display;

/// <summary>Numbers as the tables show them.</summary>
internal static class Format
{
    public static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{100 * share:0.00} %");

    public static string Share(double share) => string.Create(CultureInfo.InvariantCulture, $"{100 * share:0.0} %");

    public static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    /// <summary>1234567 -> "1.23 M".</summary>
    public static string Large(double value) => value switch
    {
        >= 1e12 => Number(value / 1e12, "0.00") + " T",
        >= 1e9 => Number(value / 1e9, "0.00") + " G",
        >= 1e6 => Number(value / 1e6, "0.00") + " M",
        >= 1e3 => Number(value / 1e3, "0.00") + " k",
        _ => Number(value, "0"),
    };

    public static string Bytes(double value) => value switch
    {
        >= 1 << 30 => Number(value / (1 << 30), "0.00") + " GiB",
        >= 1 << 20 => Number(value / (1 << 20), "0.00") + " MiB",
        >= 1 << 10 => Number(value / (1 << 10), "0.0") + " KiB",
        _ => Number(value, "0") + " B",
    };

    /// <summary>As options have it: "fp32".</summary>
    public static string Name(Precision precision) => precision.ToString().ToLowerInvariant();

    /// <summary>Images a second.</summary>
    public static string Rate(double value) => Number(value, value < 100 ? "0.0" : "#,0");

    public static string Duration(TimeSpan time) => time.TotalHours >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours}:{time:mm\\:ss}")
        : time.ToString("mm\\:ss", CultureInfo.InvariantCulture);

    /// <summary>Mean tokens that enter, then those left after each pruning layer.</summary>
    public static string Tokens(IEnumerable<double> tokens) => string.Join(" > ", tokens.Select(t => Number(t, "0.#")));
}
