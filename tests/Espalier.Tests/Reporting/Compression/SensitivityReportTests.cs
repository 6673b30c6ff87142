using System.Text.Json;
using System.Xml.Linq;

namespace Espalier.Tests.Reporting;

public sealed class SensitivityReportTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());

    public void Dispose() => File.Delete(path);

    [Fact]
    public void EveryLayerHasItsCurveAndTheShareItGoesTo()
    {
        SampleCompression.Sensitivity().SaveHtml(path);
        XElement page = XElement.Parse(File.ReadAllText(path).Replace("<!DOCTYPE html>", "", StringComparison.Ordinal));
        XElement[] figures = [.. page.Descendants("figure")];
        Assert.Equal(6, figures.Length);
        Assert.All(figures, f => Assert.Equal(10, f.Descendants("circle").Count()));
        for (int i = 0; i < 6; i++)
        {
            Assert.StartsWith($"{10 * i}\u202F% removed", figures[i].Descendants("circle")
                .Single(c => c.Attribute("class")!.Value == "hollow").Attribute("data-tip")!.Value, StringComparison.Ordinal);
        }
        Assert.Equal(["90.0\u202F%", "75\u202F%", "85.0\u202F%"],
            page.Descendants("dd").Where(d => d.Attribute("class")!.Value == "value").Select(d => d.Value));
        Assert.DoesNotContain("−0\u202F%", page.Value, StringComparison.Ordinal);
    }

    [Fact]
    public void TheDataHoldEverything()
    {
        SampleCompression.Sensitivity().SaveJson(path);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(path));
        JsonElement result = json.RootElement.GetProperty("result"), group = result.GetProperty("groups")[3];
        Assert.Equal(15_000_000, result.GetProperty("multiplyAddsTogether").GetInt64());
        Assert.Equal(("layer.3", 0.3), (group.GetProperty("name").GetString(), group.GetProperty("most").GetDouble()));
        Assert.Equal((0.5, 25), (group.GetProperty("points")[4].GetProperty("ratio").GetDouble(),
            group.GetProperty("points")[4].GetProperty("removed").GetInt32()));
    }
}
