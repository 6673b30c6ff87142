using System.Globalization;
using Espalier.Cli;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce.Tests;

/// <summary>The experiment that times whole and smaller networks in turn.</summary>
[Collection("threads")]
public sealed class SpeedReproductionTests
{
    [Fact]
    public void A_row_for_every_number_of_images_and_threads()
    {
        var context = new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 200), default);
        int threads = Workers.Threads;
        string section = new SpeedReproduction(context, ["resnet20"], [1, 2], rounds: 2).Section();
        Assert.Equal(threads, Workers.Threads);
        string[][] rows = [.. section.Split('\n').Where(l => l.StartsWith("| resnet20 |"))
            .Select(l => l.Split('|', StringSplitOptions.TrimEntries)[1..9])];
        Assert.Equal(["1 1", "2 1", "1 2", "2 2"], rows.Select(r => $"{r[2]} {r[3]}"));
        foreach (string[] row in rows)
        {
            double[] cells = [.. new[] { 1, 4, 5, 6 }.Select(i => double.Parse(row[i], CultureInfo.InvariantCulture))];
            Assert.InRange(cells[0], 0.3, 0.5);
            Assert.True(cells[1] > 0 && cells[2] > 0);
            Assert.Equal(cells[3] <= SpeedReproduction.Aim ? "pass" : "falls short", row[7]);
        }
        Assert.Contains($"{rows.Count(r => r[7] == "pass")} of 4 pass", section);
    }
}
