using System.Text;
using Espalier.Benchmarking;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>Milliseconds of a call, the medians of whole and smaller network.</summary>
internal sealed record SpeedResult(int Threads, int Images, double Whole, double Small)
{
    public double Share => Small / Whole;
}

/// <summary>
/// Whether half of the multiply-adds is about half of the time: presets with random weights, of which L1 removes channels as
/// `espalier compress l1 --target-flops 0.5` does, with widths rounded as usual; both networks are then timed in turn.
/// </summary>
/// <param name="networks">Presets.</param>
/// <param name="batches">Images of a call.</param>
/// <param name="rounds">Turns of each network, and so the fewest calls.</param>
internal sealed class SpeedReproduction(CommandContext context, IReadOnlyList<string> networks, int[] batches, int rounds)
{
    public static IReadOnlyList<string> Networks { get; } = ["resnet20", "resnet50", "mobilenet_v2", "vgg16_bn", "ViT-S_16"];

    /// <summary>The share of the time that is to be left at most.</summary>
    public const double Aim = 0.58;

    private const double Flops = 0.5;
    private static readonly int[] Threads = [1, 2];
    private static readonly TimeSpan Turn = TimeSpan.FromSeconds(0.15);

    /// <summary>How long each network takes on this machine, as if the smaller one were no faster.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates()
    {
        foreach (string network in networks)
        {
            using Model model = Model.Create(network);
            using Session session = model.Session();
            TimedWork call = Calls(session, new Shape(1, model.Channels, model.ImageSize, model.ImageSize), 1);
            double one = new Rounds { Repeats = 3 }.Measure([call])[0].Min() / 1e9;
            double turns = batches.Sum(b => Math.Max(b * one, Turn.TotalSeconds));
            yield return (network, TimeSpan.FromSeconds(2 * Threads.Length * rounds * turns));
        }
    }

    /// <summary>Prunes, times and gives the section of the page.</summary>
    public string Section()
    {
        var table = new StringBuilder();
        int passed = 0, all = 0;
        foreach (string network in networks)
        {
            context.Cancel.ThrowIfCancellationRequested();
            using Model model = Model.Create(network);
            using Session whole = model.Session();
            var job = new CompressionJob(model, NoiseImages.For(model), CompressionMethods.Get("l1") with
            {
                Selection = new SelectionOptions { TargetFlops = Flops, RoundTo = SelectionOptions.Automatic },
            }, cancel: context.Cancel);
            job.Run();
            PlanSummary summary = job.Removals.Single().Summary;
            double flops = (double)summary.MultiplyAddsAfter / summary.MultiplyAddsBefore;
            using Session small = model.Session();
            foreach (SpeedResult r in Times(whole, small, new Shape(1, model.Channels, model.ImageSize, model.ImageSize)))
            {
                bool pass = r.Share <= Aim;
                (passed, all) = (passed + (pass ? 1 : 0), all + 1);
                string row = FormattableString.Invariant($"| {network} | {flops:0.000} | {r.Images} | {r.Threads} | {r.Whole:0.000} ")
                    + FormattableString.Invariant($"| {r.Small:0.000} | {r.Share:0.000} | {(pass ? "pass" : "falls short")} |");
                context.Terminal.Line(row);
                table.Append(row).Append('\n');
            }
        }
        MachineInfo machine = MachineInfo.Collect();
        return FormattableString.Invariant($"""
            ## Half of the multiply-adds

            `l1 --target-flops {Flops}` with widths rounded as it does where nothing else is said, on presets with random weights, no training.
            Whole and smaller network are sessions of one process that take {rounds} turns, of one call or as many as fit into
            {Turn.TotalSeconds} s; milliseconds are the medians of their calls. At most {Aim} of the time is aimed at: {passed} of {all} pass.

            | network | MACs left | images | threads | ms before | ms after | time left | at most {Aim} |
            | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
            {table}
            {machine.Cpu}, {machine.Cores} processors, {KernelInfo.Name} kernels. The command:

            ```sh
            {GivenCommand.Of(context, "speed")}
            ```

            """);
    }

    private IEnumerable<SpeedResult> Times(Session whole, Session small, Shape image)
    {
        int before = Workers.Threads;
        try
        {
            foreach (int threads in Threads)
            {
                Workers.Threads = threads;
                foreach (int batch in batches)
                {
                    IReadOnlyList<long[]> samples = new Rounds { WarmUp = 1, Repeats = rounds, MinTime = rounds * Turn, SettleTime = Turn }
                        .Measure([Calls(whole, image, batch), Calls(small, image, batch)], cancel: context.Cancel);
                    yield return new SpeedResult(threads, batch, Median(samples[0]), Median(samples[1]));
                }
            }
        }
        finally
        {
            Workers.Threads = before;
        }

        static double Median(long[] nanoseconds) => SampleStatistics.Of(nanoseconds).P50 / 1e6;
    }

    private static TimedWork Calls(Session session, Shape image, int batch)
    {
        float[] images = new float[image.With(0, batch).Length], results = new float[batch * session.ResultValues];
        var rng = new Rng(3);
        foreach (ref float x in images.AsSpan()) x = rng.NextFloat(-1, 1);
        return new TimedWork(() => session.Run(images, batch, results));
    }
}
