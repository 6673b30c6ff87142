using System.Globalization;
using Espalier.Benchmarking;
using Espalier.Compression;
using Espalier.Formats;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Coverage;

/// <summary>
/// One network that export.py wrote (model.onnx, x.npy, y.npy): read and compared with PyTorch's values; half of its multiply-adds
/// removed by L1 on whatever channels there are; the smaller one compared with the masked, timed and written again, which ONNX Runtime
/// runs. A row of the table says what came out.
/// </summary>
internal sealed class Networks
{
    /// <summary>Of the largest value.</summary>
    private const float Tolerance = 1e-4f;

    private const string Head = "| network | image | nodes | parameters | against PyTorch | multiply-adds left | "
        + "parameters left | against the masked | time left | in ONNX Runtime | |";

    private readonly string[] cells = [.. Enumerable.Repeat("", 10)];
    private readonly string folder;
    private readonly NamedArray x;

    private Networks(string name, string folder)
    {
        this.folder = folder;
        x = Array("x.npy");
        (cells[0], cells[1]) = (name, $"{x.Shape[^1]}");
    }

    public static int Run(string name, string folder, string page)
    {
        string? reason = null;
        string[] cells = [name];
        try
        {
            var network = new Networks(name, folder);
            cells = network.cells;
            network.Run();
        }
        // Whatever it is, the table says it: no row of an earlier run may stay.
        catch (Exception e)
        {
            reason = (e is EspalierException ? "" : $"{e.GetType().Name}: ") + e.Message.Split('\n')[0].Replace($"{folder}/", "", StringComparison.Ordinal).Replace('|', '/');
        }
        string row = $"| {string.Join(" | ", cells)} | {reason ?? "passed"} |";
        string[] others = ["| network |", "| --- |", $"| {name} |"];
        IEnumerable<string> rows = Page.Read(page, "networks").Where(r => r.StartsWith("| ", StringComparison.Ordinal)
            && !others.Any(o => r.StartsWith(o, StringComparison.Ordinal))).Append(row).Order(StringComparer.Ordinal);
        string[] all = [.. rows];
        int passed = all.Count(r => r.EndsWith("| passed |", StringComparison.Ordinal));
        Page.Write(page, "networks",
            [$"{passed} of {all.Length} networks pass.", "", Head, string.Concat(Enumerable.Repeat("| --- ", 11)) + "|", .. all]);
        Console.WriteLine(row);
        return reason is null ? 0 : 1;
    }

    private void Run()
    {
        using Model model = Model.Open(Path.Combine(folder, "model.onnx"));
        cells[2] = $"{model.Graph.Nodes.Count}";
        cells[3] = Millions(model.ParameterCount);
        using (new Scope())
        {
            cells[4] = Checked(Difference(Array("y.npy").Data, model.Graph.Run(Images()).ToArray()), "PyTorch's output");
        }
        using Session whole = model.Session();
        var job = new CompressionJob(model, NoiseImages.For(model), Method());
        job.Run();
        PlanSummary summary = job.Removals.Single().Summary;
        cells[5] = Share(summary.MultiplyAddsAfter, summary.MultiplyAddsBefore);
        cells[6] = Share(summary.ParametersAfter, summary.ParametersBefore);
        using Session small = model.Session();
        var own = new float[x.Shape[0] * small.ResultValues];
        small.Run(x.Data, x.Shape[0], own);
        cells[7] = Checked(job.Removals[0].Difference / Largest(small, job.Example(2)), "the masked network's output");
        var (before, after) = Times(whole, small);
        cells[8] = Share(after, before);
        if (after >= before) throw new EspalierException("it takes no less time");
        string again = Path.Combine(folder, "again.onnx");
        model.ExportOnnx(again);
        cells[9] = Checked(Difference(own, Runtime(again)), "the session's output");
    }

    private static CompressionMethod Method() => CompressionMethods.Get("l1") with
    {
        Selection = new SelectionOptions
        {
            TargetFlops = 0.5, RoundTo = SelectionOptions.Automatic,
            Groups = ChannelKind.Channels | ChannelKind.Hidden | ChannelKind.Heads | ChannelKind.Stream,
        },
    };

    private static float Largest(Session session, Tensor images)
    {
        using (images)
        {
            var output = new float[images.Shape[0] * session.ResultValues];
            session.Run(images.Span, images.Shape[0], output);
            return output.Max(MathF.Abs);
        }
    }

    /// <summary>The fastest calls of an image by one thread, the two in turn: what else the machine does has least part in them.</summary>
    private (long Before, long After) Times(Session before, Session after)
    {
        using var alone = Workers.Alone();
        float[] image = x.Data[..(x.Data.Length / x.Shape[0])], output = new float[before.ResultValues];
        IReadOnlyList<long[]> samples = new Rounds { SettleTime = TimeSpan.FromSeconds(0.2), MinTime = TimeSpan.FromSeconds(1) }
            .Measure(() => before.Run(image, 1, output), () => after.Run(image, 1, output));
        return (samples[0].Min(), samples[1].Min());
    }

    private float[] Runtime(string file)
    {
        using var peer = new OnnxPeer(file);
        return peer.Run(x.Data, x.Shape);
    }

    private Tensor Images() => Tensor.From(new Shape(x.Shape), x.Data);

    private static string Checked(float difference, string what)
    {
        string text = difference.ToString("0.0e+0", CultureInfo.InvariantCulture);
        return difference <= Tolerance ? text : throw new EspalierException($"differs from {what} by {text}");
    }

    private static float Difference(float[] expected, float[] actual) => expected.Length != actual.Length ? float.PositiveInfinity
        : Removal.Difference(expected, actual) / expected.Max(MathF.Abs);

    private static string Millions(double x) => (x / 1e6).ToString("0.00", CultureInfo.InvariantCulture) + " M";

    private static string Share(double part, double whole) => (part / whole).ToString("0.00", CultureInfo.InvariantCulture);

    private NamedArray Array(string file) => ReadGuard.Open(Path.Combine(folder, file), stream => Npy.Read(stream, file, stream.Length));
}
