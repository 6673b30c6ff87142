using System.Globalization;
using Espalier.Server;
using Espalier.Server.Tests;
using Microsoft.Playwright;
using Xunit.Abstractions;

namespace Espalier.Browser.Tests;

/// <summary>The page of `espalier serve`, as a person uses it.</summary>
public sealed class ServicePageTests(Browser browser, ITestOutputHelper output) : IClassFixture<Browser>
{
    private static readonly string Bag = Repository.Picture(), Boot = Repository.Picture("ankle-boot");

    private readonly List<string> complaints = [];

    [Theory]
    [InlineData(400, ColorScheme.Light)]
    [InlineData(400, ColorScheme.Dark)]
    [InlineData(1280, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    public Task TwoPicturesAndTwoModelsFitThePage(int width, ColorScheme scheme) => OnPage(width, scheme, async page =>
    {
        await page.Locator("#files").SetInputFilesAsync([Bag, Boot]);
        await Done(page, "2 pictures");
        Assert.Equal(width, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
        double light = await page.EvaluateAsync<double>("parseInt(getComputedStyle(document.body).backgroundColor.slice(4))");
        Assert.Equal(scheme == ColorScheme.Light, light > 128);
        Assert.Equal(4, await page.Locator(".side").CountAsync());
        Assert.Equal("Bag", await page.Locator(".classes li:first-child .name").First.InnerTextAsync(), ignoreCase: true);
        Assert.Equal(["apt-fashion-mnist", "resnet20"], await page.Locator("figure:first-child h3").AllInnerTextsAsync());
        // Beside one another where there is room, below one another on a telephone.
        var first = await page.Locator(".side").First.BoundingBoxAsync();
        var second = await page.Locator(".side").Nth(1).BoundingBoxAsync();
        Assert.Equal(width > 1000, second!.X > first!.X + 100);
        Assert.Equal(width < 1000, second.Y > first.Y + 100);
    });

    [Fact]
    public Task TheSliderDropsTokensLayerAfterLayer() => OnPage(1280, ColorScheme.Light, async page =>
    {
        await page.Locator("#files").SetInputFilesAsync(Bag);
        await Done(page, "1 picture");
        ILocator side = page.Locator(".side").First;
        int panels = await side.Locator(".panel").CountAsync();
        Assert.True(panels > 2);
        int[] usual = await Tokens(side);
        Assert.Equal(usual.OrderDescending(), usual);
        // A lower threshold drops more; the right arrow goes up by a hundredth.
        await page.Locator("#amount").FillAsync("0.1");
        await Done(page, "1 picture");
        int[] few = await Tokens(side);
        Assert.True(few[^1] < usual[^1], $"{few[^1]} of {usual[^1]}");
        Assert.Equal(few[0] - few[^1], await side.EvaluateAsync<int>(
            "s => s.querySelector('.panel:last-child .veil').getAttribute('d').split('z').length - 1"));
        await page.Locator("#amount").FocusAsync();
        await page.Keyboard.PressAsync("ArrowRight");
        Assert.Equal("0.11", await page.Locator("#shown").InnerTextAsync());
        await page.Locator("#rule").SelectOptionAsync("keep");
        await page.Locator("#amount").FillAsync("0.5");
        await Done(page, "1 picture");
        Assert.Contains("keep share 0.5", await side.Locator(".facts").InnerTextAsync());
        int[] half = await Tokens(side);
        Assert.Equal(1 + (half[0] - 1 + 1) / 2, half[1]);
        // Whole: nothing is veiled, and nothing is left out of the work.
        await page.Locator("#prune").FocusAsync();
        await page.Keyboard.PressAsync("Space");
        await Done(page, "1 picture");
        Assert.Single(await Tokens(side));
        Assert.DoesNotContain("%", await side.Locator(".facts").InnerTextAsync());
        Assert.True(await page.Locator("#amount").IsDisabledAsync());
    });

    [Fact]
    public Task WhatIsNoPictureIsSaidAndTheOthersAreAnswered() => OnPage(800, ColorScheme.Light, async page =>
    {
        byte[] whole = await File.ReadAllBytesAsync(Bag);
        await page.Locator("#files").SetInputFilesAsync([
            new FilePayload { Name = "<img src=x onerror=alert(1)>.png", MimeType = "image/png", Buffer = whole[..(whole.Length / 2)] },
            new FilePayload { Name = "good.png", MimeType = "image/png", Buffer = whole }]);
        await Done(page, "2 pictures");
        Assert.Contains("truncated", await page.Locator("figure:first-child [role=alert]").First.InnerTextAsync());
        Assert.Equal("<img src=x onerror=alert(1)>.png", await page.Locator("figcaption .name").First.InnerTextAsync());
        Assert.Equal(2, await page.Locator("figure:nth-child(2) .classes").CountAsync());
        await page.Locator("figure:first-child button").PressAsync("Enter");
        Assert.Equal(1, await page.Locator(".answers figure").CountAsync());
    }, "400");

    [Fact]
    public Task EverythingIsReachedByTheKeyboard() => OnPage(800, ColorScheme.Dark, async page =>
    {
        await page.Locator("#files").SetInputFilesAsync(Bag);
        await Done(page, "1 picture");
        var reached = new List<string>();
        for (int i = 0; i < 7; i++)
        {
            await page.Keyboard.PressAsync("Tab");
            reached.Add(await page.EvaluateAsync<string>("document.activeElement.id || document.activeElement.localName"));
            Assert.NotEqual("none", await page.EvaluateAsync<string>("""
                getComputedStyle(document.activeElement.closest('.drop') || document.activeElement).outlineStyle
                """));
        }
        Assert.Equal(["files", "prune", "rule", "amount", "button", "a", "a"], reached);
    });

    [Fact]
    public Task PicturesCanBeDropped() => OnPage(800, ColorScheme.Light, async page =>
    {
        string bytes = Convert.ToBase64String(await File.ReadAllBytesAsync(Bag));
        await page.EvaluateAsync("""
            text => {
              const data = new DataTransfer();
              data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], "dropped.png", { type: "image/png" }));
              document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
            }
            """, bytes);
        await Done(page, "1 picture");
        Assert.Equal("dropped.png", await page.Locator("figcaption .name").InnerTextAsync());
    });

    private static async Task Done(IPage page, string state)
    {
        // The slider waits a moment for the next move.
        await page.WaitForTimeoutAsync(200);
        await page.WaitForFunctionAsync("""
            text => document.getElementById('state').textContent === text && !document.querySelector('.waiting')
            """, state);
    }

    private static async Task<int[]> Tokens(ILocator side) =>
        [.. (await side.Locator(".panel b").AllInnerTextsAsync()).Select(t => int.Parse(t, CultureInfo.InvariantCulture))];

    /// <param name="expected">A status that the browser may complain of.</param>
    private async Task OnPage(int width, ColorScheme scheme, Func<IPage, Task> use, string? expected = null)
    {
        if (browser.Instance == null)
        {
            Browser.SayMissing(output);
            return;
        }
        string[] models = [Repository.Model("apt-fashion-mnist"), Repository.Model("resnet20")];
        await using Service service = await Service.Start(new ServerSettings { Models = models, Port = 0 });
        IPage page = await browser.Instance.NewPageAsync(
            new() { ViewportSize = new() { Width = width, Height = 900 }, ColorScheme = scheme });
        page.Console += (_, message) => complaints.Add(message.Text);
        page.PageError += (_, error) => complaints.Add(error);
        page.Request += (_, request) =>
        {
            bool own = request.Url.StartsWith(service.Address + "/", StringComparison.Ordinal);
            if (!own && new Uri(request.Url).Scheme != "data") complaints.Add("asks for " + request.Url);
        };
        await page.GotoAsync(service.Address + "/");
        await Done(page, "No picture yet");
        await use(page);
        await page.CloseAsync();
        Assert.DoesNotContain(complaints, c => expected is null || !c.Contains($"status of {expected}", StringComparison.Ordinal));
    }
}
