using System.Globalization;

namespace Espalier.Peers;

/// <summary>How figures are written.</summary>
internal static class Units
{
    public static string Times(double ratio) => $"{Two(ratio)} x";

    public static string Two(double x) => x.ToString("0.00", CultureInfo.InvariantCulture);

    public static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:0.0} %");

    public static string Rate(double imagesPerSecond) => $"{Digits(imagesPerSecond)} images/s";

    public static string Agreement(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:0.00} %");

    public static string Gflops(double value) => string.Create(CultureInfo.InvariantCulture, $"{value:0} GFLOP/s");

    public static string Milliseconds(double seconds) => $"{Digits(seconds * 1000)} ms";

    public static string Megabytes(double kilobytes) => string.Create(CultureInfo.InvariantCulture, $"{kilobytes / 1024:0} MiB");

    public static string Small(double value) => value.ToString("0.0e0", CultureInfo.InvariantCulture);

    /// <summary>Three digits, or all of those before the point.</summary>
    private static string Digits(double x) => x.ToString(x < 10 ? "0.00" : x < 100 ? "0.0" : "0", CultureInfo.InvariantCulture);
}
