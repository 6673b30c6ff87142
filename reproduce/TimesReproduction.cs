using System.Diagnostics;
using System.Globalization;
using System.Text;
using Espalier.Benchmarking;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Formats;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>How far predicted times are off, on networks of random widths that nothing was measured of.</summary>
internal sealed class TimesReproduction(CommandContext context, string folder, int count)
{
    /// <summary>A CNN, one with depthwise convolutions, a transformer.</summary>
    private static readonly (string Name, int Size)[] Networks = [("resnet20", 32), ("mobilenet_v2", 32), ("vit-small-28", 28)];

    private const int Few = 3;

    private static readonly int[] Threads = [.. ((int[])[1, Environment.ProcessorCount]).Distinct()], Batches = [1, 8];

    private readonly List<(string Name, BlindTime[] Times)> tried = [];
    private readonly RunHours hours = new();

    /// <summary>Measures all and gives the section of the page.</summary>
    public string Section()
    {
        MachineInfo machine = MachineInfo.Collect();
        var text = new StringBuilder("## How far it is off\n\n");
        text.Append(CultureInfo.InvariantCulture, $"`{GivenCommand.Of(context, "times")}` tries ")
            .Append(CultureInfo.InvariantCulture, $"predictions on {count} networks of ");
        text.Append("random widths of which nothing was measured (`BlindTest`): each is predicted, then cut, compiled and timed in turn with ")
            .Append("the whole network. Errors are shares of the measured time. A run that was stopped goes on.\n\n");
        text.Append("| network | images | threads | milliseconds | median error | median of its size | P95 | worst |\n");
        text.Append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
        foreach (var (name, size) in Networks)
        {
            foreach (int threads in Threads)
            {
                foreach (int batch in Batches)
                {
                    BlindTime[] times = Try(name, size, batch, threads);
                    tried.Add(($"{name}, {batch} images, {threads} threads", times));
                    BlindErrors e = BlindErrors.Of(times.Select(t => t.Error));
                    string row = string.Create(CultureInfo.InvariantCulture, $"| {name} | {batch} | {threads} | ")
                        + string.Create(CultureInfo.InvariantCulture,
                            $"{1e3 * times.Min(t => t.Measured):0.00} to {1e3 * times.Max(t => t.Measured):0.00} | {Math.Round(e.Median, 3):+0.0%;-0.0%;0.0%} | ")
                        + string.Create(CultureInfo.InvariantCulture, $"{e.Typical:0.0%} | {e.P95:0.0%} | {e.Worst:0.0%} |");
                    context.Terminal.Line(row);
                    text.Append(row).Append('\n');
                }
            }
        }
        text.Append(CultureInfo.InvariantCulture, $"\n{machine.Cpu}, {machine.Cores} processors. {hours.Measuring()}\n\n![Predicted and measured times](images/times.svg)\n");
        return text.ToString();
    }

    /// <summary>How long all will take on this machine, by a few networks of each kind; what is measured of layers meanwhile is kept.
    /// </summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates()
    {
        foreach (var (name, size) in Networks)
            foreach (int threads in Threads)
                foreach (int batch in Batches)
                {
                    TimeSpan measuring = TimeSpan.Zero, trying = TimeSpan.Zero;
                    long began = Stopwatch.GetTimestamp();
                    int tried = 0;
                    foreach (BlindTime _ in Trials(name, size, batch, threads, Few, 0, () => measuring = Stopwatch.GetElapsedTime(began)))
                    {
                        trying = Stopwatch.GetElapsedTime(began) - measuring;
                        tried++;
                    }
                    yield return ($"{name}, {batch} images, {threads} threads", measuring + trying * ((double)count / Math.Max(1, tried)));
                }
    }

    /// <summary>Predicted times over measured ones, both as shares of the largest of their network, on logarithmic axes.</summary>
    public string Picture()
    {
        const double side = 420, margin = 46, least = 0.05;
        double At(double share) => Math.Log(Math.Clamp(share, least, 1.2) / least) / Math.Log(1.2 / least) * (side - 2 * margin);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side + 230} {side}\" ")
            .Append("font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        foreach (double tick in (double[])[0.05, 0.1, 0.2, 0.5, 1])
        {
            double at = At(tick);
            svg.Append(CultureInfo.InvariantCulture, $"<path d=\"M{margin + at:0.#} {margin}V{side - margin}M{margin} {side - margin - at:0.#}")
                .Append(CultureInfo.InvariantCulture, $"H{side - margin}\" stroke=\"#ddd\"/>\n<text x=\"{margin + at:0.#}\" y=\"{side - 26}\" ")
                .Append(CultureInfo.InvariantCulture, $"text-anchor=\"middle\">{tick}</text>\n<text x=\"{margin - 6}\" y=\"")
                .Append(CultureInfo.InvariantCulture, $"{side - margin - at + 4:0.#}\" text-anchor=\"end\">{tick}</text>\n");
        }
        svg.Append(CultureInfo.InvariantCulture, $"<path d=\"M{margin} {side - margin}L{side - margin} {margin}\" stroke=\"#888\"/>\n")
            .Append(CultureInfo.InvariantCulture, $"<text x=\"{side / 2}\" y=\"{side - 6}\" text-anchor=\"middle\">measured</text>\n")
            .Append(CultureInfo.InvariantCulture, $"<text x=\"12\" y=\"{margin - 12}\">predicted</text>\n");
        for (int i = 0; i < tried.Count; i++)
        {
            string color = string.Create(CultureInfo.InvariantCulture, $"hsl({360 * i / tried.Count} 70% 42%)");
            double largest = tried[i].Times.Max(t => t.Measured);
            foreach (BlindTime t in tried[i].Times)
                svg.Append(CultureInfo.InvariantCulture, $"<circle cx=\"{margin + At(t.Measured / largest):0.#}\" cy=\"")
                    .Append(CultureInfo.InvariantCulture, $"{side - margin - At(t.Predicted / largest):0.#}\" r=\"2\" fill=\"{color}\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<circle cx=\"{side - 20}\" cy=\"{margin + 18 * i}\" r=\"4\" fill=\"{color}\"/>")
                .Append(CultureInfo.InvariantCulture, $"<text x=\"{side - 10}\" y=\"{margin + 4 + 18 * i}\">{tried[i].Name}</text>\n");
        }
        return svg.Append("</svg>\n").ToString();
    }

    /// <summary>What a file has of earlier runs, and the networks after those, each written into it when it was tried.</summary>
    private BlindTime[] Try(string name, int size, int batch, int threads)
    {
        string file = Path.Combine(folder, FormattableString.Invariant($"{name}-{batch}-{threads}.csv"));
        List<BlindTime> all = [.. Known(file).Take(count)];
        if (all.Count == count) return [.. all];
        foreach (BlindTime t in Trials(name, size, batch, threads, count, all.Count, () => { }))
        {
            all.Add(t);
            File.AppendAllText(file, FormattableString.Invariant($"{t.Predicted:r},{t.Measured:r}\n"));
            context.Cancel.ThrowIfCancellationRequested();
        }
        return [.. all];
    }

    /// <param name="first">How many were tried before.</param>
    /// <param name="measured">Called when layers are measured, and networks begin.</param>
    private IEnumerable<BlindTime> Trials(string name, int size, int batch, int threads, int most, int first, Action measured)
    {
        int before = Workers.Threads;
        Workers.Threads = threads;
        try
        {
            using Model model = Model.Create(name, classes: 10, imageSize: size);
            using var scope = new Scope();
            using var graph = DependencyGraph.Build(model.Graph, Tensor.Full(new Shape(1, model.Channels, size, size), 0.5f));
            ChannelGroup[] groups = [.. graph.Groups.Where(g => !g.IsStream && g.Inexact is null)];
            TimeTable table = TimeTable.Open(Path.Combine(folder, "times.json"));
            var times = new NetworkTimes(graph, table, groups, batch);
            times.Measure(cancel: context.Cancel);
            measured();
            foreach (BlindTime t in BlindTest.Run(graph, times, groups, most, first: first)) yield return t;
        }
        finally
        {
            Workers.Threads = before;
        }
    }

    private static IEnumerable<BlindTime> Known(string file) => RecordFile.Rows(file, columns: 2).Select(p =>
        p is [> 0, > 0] ? new BlindTime(p[0], p[1]) : throw RecordFile.Damaged(file, "a time is not above 0"));

    /// <summary>Writes the picture beside the page.</summary>
    public void SavePicture(string page)
    {
        string picture = Picture(), path = Plot.PathOf(page, "times.svg");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(picture)));
    }
}
