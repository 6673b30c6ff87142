using System.Globalization;

namespace Espalier.Peers;

/// <summary>How figures are written.</summary>
internal static class Units
{
    public static string Times(double ratio) => string.Create(CultureInfo.InvariantCulture, $"{ratio:0.00} x");

    public static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:0.0} %");

    public static string Rate(double imagesPerSecond) => $"{Digits(imagesPerSecond)} images/s";

    public static string Gflops(double value) => string.Create(CultureInfo.InvariantCulture, $"{value:0} GFLOP/s");

    public static string Milliseconds(double seconds) => $"{Digits(seconds * 1000)} ms";

    public static string Small(double value) => value.ToString("0.0e0", CultureInfo.InvariantCulture);

    /// <summary>Three digits, or all of those before the point.</summary>
    private static string Digits(double x) => x.ToString(x < 10 ? "0.00" : x < 100 ? "0.0" : "0", CultureInfo.InvariantCulture);
}
