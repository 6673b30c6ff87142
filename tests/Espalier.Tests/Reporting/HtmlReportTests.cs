using System.Xml;
using System.Xml.Linq;
using Espalier.Evaluation;
using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

public sealed class HtmlReportTests
{
    private const string Hostile = "</td></script><script>alert(1)</script><img src=x onerror='a' \"b\" & \u0001 \ud800 \u202e";

    private static readonly string Page = HtmlReport.Render(SampleReport.Full());

    [Fact]
    public void APageIsWellFormedAndHasEverySection()
    {
        var page = Parse(Page);
        Assert.Equal(["Comparison", "Trade-off", "Training", "Tokens kept", "What was pruned"],
            page.Descendants("h2").Select(h => h.Value));
        Assert.Equal(4, page.Descendants("svg").Count(s => s.Attribute("data-hover") != null));
        Assert.Equal(5, page.Descendants("table").Single(t => t.Attribute("class")!.Value == "results")
            .Element("tbody")!.Elements("tr").Count());
        Assert.Equal(8, page.Descendants("image").Count());
    }

    [Fact]
    public void NothingIsLoadedFromOutside()
    {
        Assert.DoesNotContain("http://", Page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("https://", Page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("@import", Page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("url(", Page, StringComparison.OrdinalIgnoreCase);
        foreach (var a in Parse(Page).Descendants().Attributes().Where(a => a.Name.LocalName is "href" or "src"))
            Assert.True(a.Value.StartsWith("data:", StringComparison.Ordinal) || a.Value.StartsWith('#'), a.Value);
    }

    [Fact]
    public void HostileTextStaysText()
    {
        var full = SampleReport.Full();
        var data = full with
        {
            Title = Hostile,
            Subtitle = Hostile,
            CommandLine = Hostile,
            Version = Hostile,
            Rows = [new(Hostile, 0.5, 1, 1e6, 10), new(Hostile, 0.5, 1, 1e6, 10)],
            Curves = [new(Hostile, Hostile, [new(1, 1), new(2, 2)])],
            Tokens = [new(Hostile, [1, 2, 3])],
            Gallery = [full.Gallery[0] with { Label = Hostile, Prediction = Hostile + "2", Stages = [new(Hostile, [0, 1])] }],
        };
        var page = Parse(HtmlReport.Render(data));
        Assert.Single(page.Descendants("script"));
        Assert.Empty(page.Descendants("img"));
        Assert.DoesNotContain(page.Descendants().Attributes(), a => a.Name.LocalName.StartsWith("on", StringComparison.Ordinal));
        string shown = Hostile.Replace('\u0001', '\uFFFD').Replace('\ud800', '\uFFFD');
        Assert.Equal(shown, page.Descendants("h1").Single().Value);
        Assert.Equal(shown, page.Descendants("code").Single().Value);
        Assert.Contains(page.Descendants("svg").Select(s => s.Attribute("data-hover")?.Value ?? ""),
            json => json.Contains("\\u003C/script", StringComparison.Ordinal));
    }

    [Fact]
    public void SectionsWithoutDataAreLeftOut()
    {
        var page = Parse(HtmlReport.Render(new ReportData { Title = "Empty" }));
        Assert.Empty(page.Descendants("section"));
        Assert.Empty(page.Descendants("svg"));
        Assert.Equal("Empty", page.Descendants("title").Single().Value);

        var rows = Parse(HtmlReport.Render(new ReportData { Title = "One", Rows = [new("ViT", 0.9, null, 1e9, 0)] }));
        Assert.Equal(["Comparison"], rows.Descendants("h2").Select(h => h.Value));
        Assert.DoesNotContain(rows.Descendants("th"), th => th.Value is "Loss" or "Tokens" or "Images / s");
    }

    [Fact]
    public void RatiosAreAgainstTheFirstRow()
    {
        var page = Parse(Page);
        var subject = page.Descendants("tr").Single(r => r.Attribute("class")?.Value == "subject");
        Assert.Equal(["+0.24", "63\u202F%", "1.54×"], subject.Descendants("i").Select(i => i.Value.Trim()));
        Assert.Equal(["91.2\u202F%", "63\u202F%", "1.54×", "36\u202F%"],
            page.Descendants("dd").Where(d => d.Attribute("class")!.Value == "value").Select(d => d.Value));
    }

    [Fact]
    public void ValuesThatAreNotFiniteLeaveAGap()
    {
        Curve[] curves =
        [
            new("diverged", "Loss", [new(1, 2), new(2, 1), new(3, double.NaN), new(4, double.PositiveInfinity), new(5, 3)]),
            new("never finite", "Loss", [new(1, double.NaN)]), new("never finite", "Other", [new(1, double.NaN)]),
        ];
        var page = Parse(HtmlReport.Render(new ReportData { Title = "x", Curves = curves }));
        string path = page.Descendants("path").Single(p => p.Attribute("class")!.Value == "line s0"
            && p.Parent!.Attribute("class")?.Value != "key").Attribute("d")!.Value;
        Assert.Equal(2, path.Count(c => c == 'M'));
        Assert.DoesNotContain("NaN", path, StringComparison.Ordinal);
        Assert.Single(page.Descendants("figure"));
    }

    [Fact]
    public void TheFileIsSmallAndReplacesTheOldOne()
    {
        string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName() + ".html");
        try
        {
            File.WriteAllText(path, "old");
            HtmlReport.Write(path, SampleReport.Full());
            Assert.InRange(new FileInfo(path).Length, 20_000, 250_000);
            Assert.False(File.Exists(path + ".part"));
        }
        finally
        {
            File.Delete(path);
        }
        var error = Assert.Throws<EspalierException>(
            () => HtmlReport.Write(Path.Combine(path, "none", "r.html"), SampleReport.Full()));
        Assert.Contains("r.html", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    /// <summary>Of networks without tokens a page has no word of them, but pictures of right and wrong and a confusion matrix.</summary>
    [Fact]
    public void APageOfANetworkWithoutTokensSaysNothingOfTokens()
    {
        ReportData full = SampleReport.Full();
        var page = Parse(HtmlReport.Render(full with
        {
            Rows = [new(Hostile, 0.75, 0.5, 1e6, 100)], TradeOff = [], Curves = [], Tokens = [],
            Confusion = Counted([Hostile, "b", "c"]),
            Gallery = [.. full.Gallery.Select(i => i with { Grid = 0, PrefixTokens = 0, Stages = [] })],
        }));
        Assert.Equal(["Comparison", "Confusions", "Right and wrong"], page.Descendants("h2").Select(h => h.Value));
        string body = page.Descendants("main").Single().Value;
        Assert.DoesNotContain("token", body, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("prun", body, StringComparison.OrdinalIgnoreCase);
        XElement matrix = page.Descendants("table").Single(t => t.Attribute("class")!.Value.Contains("confusion", StringComparison.Ordinal));
        Assert.Equal(["3", "1", "", "", "2", "", "", "", ""], matrix.Descendants("td").Select(c => c.Value));
        // Three of four images, in fourteen shades; the policy of the page forbids styles in its elements.
        Assert.Equal("hit shade11", matrix.Descendants("td").First().Attribute("class")!.Value);
        Assert.Empty(page.Descendants().Attributes("style"));
        Assert.Equal((7, 1), (page.Descendants("span").Count(s => s.Attribute("class")?.Value == "right"),
            page.Descendants("span").Count(s => s.Attribute("class")?.Value == "wrong")));
        Assert.Empty(page.Descendants("use"));
    }

    /// <summary>A matrix of a hundred classes nobody reads.</summary>
    [Fact]
    public void OfManyClassesTheMostFrequentConfusionsAreListed()
    {
        var page = Parse(HtmlReport.Render(new ReportData
        {
            Title = "x", Confusion = Counted([.. Enumerable.Range(0, 30).Select(i => $"class {i}")]),
        }));
        Assert.Equal(["class 0", "class 1", "1", "25\u202F%"], page.Descendants("td").Select(c => c.Value));
    }

    [Fact]
    public void TheTradeOffIsMeasuredAgainstTheUnprunedModelAndNotAgainstThePlainOne()
    {
        ReportData full = SampleReport.Full();
        var page = Parse(HtmlReport.Render(full with { Unpruned = full.Rows[1] }));
        Assert.Contains(page.Descendants("circle"), c => c.Attribute("class")!.Value == "dot hollow"
            && c.Attribute("data-tip")!.Value == "APT, unpruned unpruned: 91.21\u202F%");
    }

    /// <summary>A network whose answers are no numbers has no class among its five best.</summary>
    [Fact]
    public void Answers_that_are_no_numbers_are_not_in_the_top_five()
    {
        var counts = new ClassCounts(7);
        float[] none = [.. Enumerable.Repeat(float.NaN, 7)], one = [float.NaN, 1, 2, 3, 4, 5, 6];
        counts.Add(new ImageResult(0, 3, 0, 0, none, [], null));
        counts.Add(new ImageResult(1, 2, 0, 0, one, [], null));
        counts.Add(new ImageResult(2, 3, 0, 0, one, [], null));
        Assert.Equal(1 / 3.0, counts.TopFive, 9);
    }

    /// <summary>Four images of class 0, one of them taken for class 1, and two of class 1.</summary>
    private static Confusion Counted(string[] names)
    {
        var counts = new ClassCounts(names.Length);
        foreach (var (label, prediction) in ((int, int)[])[(0, 0), (0, 0), (0, 1), (0, 0), (1, 1), (1, 1)])
            counts.Add(new ImageResult(0, label, prediction, 0, new float[names.Length], [], null));
        return new Confusion(names, counts);
    }

    private static XDocument Parse(string page)
    {
        var settings = new XmlReaderSettings { DtdProcessing = DtdProcessing.Ignore };
        using var reader = XmlReader.Create(new StringReader(page), settings);
        return XDocument.Load(reader, LoadOptions.PreserveWhitespace);
    }
}
