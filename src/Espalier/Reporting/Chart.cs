using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Espalier.Reporting;

/// <summary>What the charts share: grid lines and tick labels, the classes that colour a series, data for the script.</summary>
internal static class Chart
{
    /// <summary>Series colours in the style sheet; a seventh series starts again, dashed.</summary>
    private const int SeriesColors = 6;

    /// <summary>The classes that colour series i.</summary>
    public static string Series(int i) =>
        "s" + (i % SeriesColors).ToString(CultureInfo.InvariantCulture) + (i < SeriesColors ? "" : " dashed");

    /// <summary>Grid lines, tick labels and the title of the horizontal axis.</summary>
    public static void Frame(Markup page, Axis x, Axis y, string xTitle)
    {
        double left = x[x.Min], right = x[x.Max], bottom = y[y.Min];
        foreach (double tick in y.Ticks)
            page.Add($"<path class=\"grid\" d=\"M{left} {y[tick]}H{right}\"/>")
                .Add($"<text x=\"{left - 8}\" y=\"{y[tick] + 4}\" text-anchor=\"end\">{y.Label(tick)}</text>");
        foreach (double tick in x.Ticks)
            page.Add($"<path class=\"tick\" d=\"M{x[tick]} {bottom}v4\"/>")
                .Add($"<text x=\"{x[tick]}\" y=\"{bottom + 17}\" text-anchor=\"middle\">{x.Label(tick)}</text>");
        page.Add($"<path class=\"axis\" d=\"M{left} {bottom}H{right}\"/>");
        page.Add($"<text class=\"title\" x=\"{right}\" y=\"{bottom + 32}\" text-anchor=\"end\">{xTitle}</text>");
    }

    /// <summary>A path through the points; one that is not finite lifts the pen.</summary>
    public static Markup Path(IEnumerable<(double X, double Y)> points)
    {
        var path = new Markup();
        bool pen = false;
        foreach (var (x, y) in points)
        {
            bool drawn = double.IsFinite(x) && double.IsFinite(y);
            if (drawn) path.Add($"{(pen ? "L" : "M")}{x} {y}");
            pen = drawn;
        }
        return path;
    }

    /// <summary>JSON for the script: of each curve its name, class and [pixel x, pixel y, step, value] as text.</summary>
    public static string HoverData(IReadOnlyList<Curve> curves, Axis x, Axis y)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartArray();
            for (int i = 0; i < curves.Count; i++)
            {
                json.WriteStartObject();
                json.WriteString("name", curves[i].Name);
                json.WriteString("series", Series(i));
                json.WriteStartArray("points");
                foreach (var p in Smoothing.Shown(curves[i]).Where(p => double.IsFinite(p.Value)))
                {
                    json.WriteStartArray();
                    json.WriteNumberValue(Math.Round(x[p.Step], 1));
                    json.WriteNumberValue(Math.Round(y[p.Value], 1));
                    json.WriteStringValue(Figures.Count(p.Step));
                    json.WriteStringValue(Figures.Value(p.Value, curves[i].Format));
                    json.WriteEndArray();
                }
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        return Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }
}
