using Espalier.Reporting;
using Espalier.Tests.Reporting;
using Microsoft.Playwright;
using Xunit.Abstractions;

namespace Espalier.Browser.Tests;

public sealed class ReportPageTests(Browser browser, ITestOutputHelper output) : IClassFixture<Browser>, IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName() + ".html");
    private readonly List<string> complaints = [];

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData(320, ColorScheme.Light)]
    [InlineData(420, ColorScheme.Light)]
    [InlineData(768, ColorScheme.Dark)]
    [InlineData(1100, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    public async Task NothingLeavesThePageAndTheConsoleIsQuiet(int width, ColorScheme scheme)
    {
        if (await OpenAsync(SampleReport.Full(), width, scheme) is not { } page) return;
        Assert.Equal(width, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
        Assert.Equal(8, await page.EvaluateAsync<int>("""
            [...document.querySelectorAll('.panel:first-child svg')].filter(s => s.getBoundingClientRect().height > 40).length
            """));
        double light = await page.EvaluateAsync<double>("parseInt(getComputedStyle(document.body).backgroundColor.slice(4))");
        Assert.Equal(scheme == ColorScheme.Light, light > 128);
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task LongNamesAreBrokenInsteadOfWideningThePage()
    {
        string name = new('x', 200);
        var full = SampleReport.Full();
        var data = full with
        {
            Title = name,
            Subtitle = name,
            CommandLine = name,
            Rows = [full.Rows[0] with { Name = name }, full.Rows[2] with { Name = name }],
            Curves = [.. full.Curves.Select(c => c with { Name = name, Panel = name })],
            Tokens = [full.Tokens[0] with { LayerName = name }],
            Gallery = [full.Gallery[0] with { Label = name, Prediction = name + "y" }],
        };
        foreach (int width in new[] { 420, 1280 })
        {
            if (await OpenAsync(data, width) is not { } page) return;
            Assert.Equal(width, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
        }
    }

    [Fact]
    public async Task ThePointerShowsValues()
    {
        if (await OpenAsync(SampleReport.Full(), 1280) is not { } page) return;
        var tip = page.Locator(".tip");
        Assert.False(await tip.IsVisibleAsync());

        var loss = page.Locator("[data-hover]").First;
        await loss.HoverAsync(new() { Position = new() { X = 240, Y = 90 } });
        Assert.Matches(@"^step [\d\u202F]+\s+0\.\d+  ViT\s+0\.\d+  APT, backbone$", (await tip.InnerTextAsync()).Trim());

        await page.Locator("circle[data-tip]").Nth(1).HoverAsync();
        Assert.Equal("threshold 0.3\naccuracy 88.41\u202F%\nmultiply-adds 42.1\u202F%", (await tip.InnerTextAsync()).Trim());
        await page.Locator("h1").HoverAsync();
        Assert.False(await tip.IsVisibleAsync());
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task AScriptThatIsNotOursDoesNotRun()
    {
        if (await OpenAsync(new ReportData { Title = "x" }, 800) is not { } page) return;
        string html = await File.ReadAllTextAsync(path);
        string taken = html.Replace("<main>", "<main><script>document.title = 'taken'</script>", StringComparison.Ordinal);
        await File.WriteAllTextAsync(path, taken);
        await page.ReloadAsync();
        Assert.Equal("x", await page.TitleAsync());
        Assert.Contains(complaints, c => c.Contains("Content Security Policy", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(320, ColorScheme.Light)]
    [InlineData(768, ColorScheme.Dark)]
    [InlineData(1280, ColorScheme.Light)]
    public async Task TheReportOfACompressionFitsThePage(int width, ColorScheme scheme)
    {
        string name = "features.denseblock4.denselayer16.conv2.with.a.long.name." + new string('x', 60);
        if (await OpenAsync(p => SampleCompression.Report(name).SaveHtml(p), width, scheme) is not { } page) return;
        Assert.Equal(width, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
        Assert.Equal(12, await page.Locator(".small-multiples svg.plot").CountAsync());
        double height = await page.EvaluateAsync<double>("document.querySelector('.small-multiples svg.plot').getBoundingClientRect().height");
        Assert.InRange(height, 40, 400);
        double light = await page.EvaluateAsync<double>("parseInt(getComputedStyle(document.body).backgroundColor.slice(4))");
        Assert.Equal(scheme == ColorScheme.Light, light > 128);
        Assert.Empty(complaints);
    }

    [Theory]
    [InlineData(320, ColorScheme.Dark)]
    [InlineData(1280, ColorScheme.Light)]
    public async Task TheReportOfASensitivitySweepFitsThePage(int width, ColorScheme scheme)
    {
        if (await OpenAsync(p => SampleCompression.Sensitivity(new string('x', 120)).SaveHtml(p), width, scheme) is not { } page) return;
        Assert.Equal(width, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
        await page.Locator("circle.hollow").Nth(2).HoverAsync();
        Assert.Equal("20\u202F% removed (10)\naccuracy 89.50\u202F%", (await page.Locator(".tip").InnerTextAsync()).Trim());
        Assert.Empty(complaints);
    }

    private Task<IPage?> OpenAsync(ReportData data, int width, ColorScheme scheme = ColorScheme.Light) =>
        OpenAsync(p => HtmlReport.Write(p, data), width, scheme);

    private async Task<IPage?> OpenAsync(Action<string> write, int width, ColorScheme scheme)
    {
        if (browser.Instance == null)
        {
            Browser.SayMissing(output);
            return null;
        }
        write(path);
        var page = await browser.Instance.NewPageAsync(
            new() { ViewportSize = new() { Width = width, Height = 900 }, ColorScheme = scheme });
        page.Console += (_, message) => complaints.Add(message.Text);
        page.PageError += (_, error) => complaints.Add(error);
        page.Request += (_, request) =>
        {
            if (new Uri(request.Url).Scheme is not ("file" or "data")) complaints.Add("asks for " + request.Url);
        };
        await page.GotoAsync(new Uri(path).AbsoluteUri);
        return page;
    }
}
