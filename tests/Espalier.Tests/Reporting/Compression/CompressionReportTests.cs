using System.Text.Json;
using System.Xml.Linq;
using Espalier.Compression;
using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

public sealed class CompressionReportTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());

    public void Dispose() => File.Delete(path);

    [Fact]
    public void ThePageHasNumbersLayersScoresAndCurves()
    {
        XElement page = Page(SampleCompression.Report());
        Assert.Equal(["Before and after", "Channels kept", "Importance", "Training", "Options"],
            page.Descendants("h2").Select(h => h.Value));
        Assert.Equal(["90.0\u202F%", "25\u202F%", "25\u202F%", "2.50×"],
            page.Descendants("dd").Where(d => d.Attribute("class")!.Value == "value").Select(d => d.Value));
        Assert.Contains("−1.00 points", page.Value, StringComparison.Ordinal);
        Assert.Equal(2, page.Descendants("svg").Count(s => s.Attribute("data-hover") is not null));
    }

    /// <summary>Each channel is one bar, falling from left to right, and the removed ones have the second colour.</summary>
    [Fact]
    public void EveryChannelIsABar()
    {
        XElement[] charts = [.. Page(SampleCompression.Report()).Descendants("figure")
            .Where(f => f.Descendants("path").Any(p => p.Attribute("class")!.Value == "bar s0"))];
        Assert.Equal(12, charts.Length);
        for (int i = 0; i < charts.Length; i++)
        {
            Assert.Equal($"layer.{i}", charts[i].Element("figcaption")!.Value);
            Assert.Equal(64 - 5 * i, Bars(charts[i], "bar s0").Length);
            Assert.Equal(5 * i, Bars(charts[i], "bar s1 gone").Length);
            double[] tops = [.. Bars(charts[i], "bar s0").Concat(Bars(charts[i], "bar s1 gone"))];
            Assert.Equal(tops.Order(), tops);
        }
    }

    [Fact]
    public void ScoresMayBeNegativeOrNoNumbers()
    {
        CompressionReport report = SampleCompression.Report() with
        {
            Selections = [new SelectionRecord([new ScoredGroup("odd", [-1, float.NaN, 2, float.PositiveInfinity], [0]),
                new ScoredGroup("none", [float.NaN], []), new ScoredGroup("zero", [0, 0], [])])],
        };
        XElement page = Page(report);
        Assert.DoesNotContain("NaN", page.ToString(), StringComparison.Ordinal);
        Assert.Equal(2, page.Descendants("figure").Count(f => f.Elements("p").Any(p => p.Value.EndsWith("kept", StringComparison.Ordinal))));
        report.SaveJson(path);
        Assert.Contains("NaN", File.ReadAllText(path), StringComparison.Ordinal);
    }

    [Fact]
    public void NamesOfStrangersStayText()
    {
        XElement page = Page(SampleCompression.Report("</td><script>alert(1)</script>") with { Network = "<b>", Machine = "&" });
        Assert.Single(page.Descendants("script"));
        Assert.Contains(page.Descendants("h1"), h => h.Value.StartsWith("<b>", StringComparison.Ordinal));
    }

    [Fact]
    public void WithoutScoresOrTrainingTheirSectionsAreLeftOut()
    {
        XElement page = Page(SampleCompression.Report() with { Selections = [], Stages = [], Groups = [] });
        Assert.Equal(["Before and after", "Options"], page.Descendants("h2").Select(h => h.Value));
    }

    [Fact]
    public void ManyTrainingsAreOneCurve()
    {
        StageRecord[] stages = [.. Enumerable.Range(1, 9).Select(i => new StageRecord($"fine-tune {i}/9", 10, [new LossPoint(10, i)], 0.5))];
        XElement page = Page(SampleCompression.Report() with { Stages = stages });
        Assert.Equal(["9 trainings", "at the end of each training"],
            page.Descendants("ul").Where(u => u.Attribute("class")!.Value == "legend").Skip(1)
                .SelectMany(u => u.Descendants("span")).Select(s => s.Value));
    }

    [Fact]
    public void TheDataHoldEverything()
    {
        SampleCompression.Report().SaveJson(path);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(path));
        JsonElement root = json.RootElement;
        Assert.Equal("taylor", root.GetProperty("method").GetString());
        Assert.Equal(7, root.GetProperty("seed").GetInt32());
        Assert.Equal("0.5", root.GetProperty("options").GetProperty("ratio").GetString());
        Assert.Equal(1e6, root.GetProperty("before").GetProperty("parameters").GetDouble());
        Assert.Equal(1.6, root.GetProperty("after").GetProperty("milliseconds").GetDouble());
        JsonElement last = root.GetProperty("groups")[11], scored = root.GetProperty("selections")[0].GetProperty("groups")[11];
        Assert.Equal((64, 9), (last.GetProperty("channels").GetInt32(), last.GetProperty("kept").GetInt32()));
        Assert.Equal((64, 55), (scored.GetProperty("scores").GetArrayLength(), scored.GetProperty("removed").GetArrayLength()));
        JsonElement stage = root.GetProperty("stages")[1];
        Assert.Equal("fine-tune", stage.GetProperty("name").GetString());
        Assert.Equal((20, 2.3), (stage.GetProperty("losses")[1].GetProperty("step").GetInt64(),
            stage.GetProperty("losses")[0].GetProperty("loss").GetDouble()));
    }

    private static XElement Page(CompressionReport report) => XElement.Parse(CompressionPage.Render(report)
        .Replace("<!DOCTYPE html>", "", StringComparison.Ordinal));

    /// <summary>The tops of the bars of one colour, in order.</summary>
    private static double[] Bars(XElement chart, string colour)
    {
        string path = chart.Descendants("path").Single(p => p.Attribute("class")!.Value == colour).Attribute("d")!.Value;
        return [.. path.Split('M', StringSplitOptions.RemoveEmptyEntries)
            .Select(b => double.Parse(b.Split('V')[1].Split('h')[0], System.Globalization.CultureInfo.InvariantCulture))];
    }
}
