using System.Globalization;
using System.Text;
using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;

namespace Espalier.Reproduce;

/// <summary>
/// Recovery without training beside fine-tuning, after the same removal: neither, either and both, by two ways to choose channels.
/// </summary>
internal sealed class RecoveryReproduction(CommandContext context, string folder, string? dataDir, long steps, IReadOnlyList<string> networks)
{
    private const double Share = 0.5;
    private const ulong Seed = 1;

    private static readonly string[] Methods = ["l1", "output-error"];
    private readonly NetworkRuns runs = new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28, steps);

    public static IReadOnlyList<string> Networks { get; } = ["resnet20", "vgg16-quarter"];

    /// <summary>Does what is not done yet and gives the section of the page.</summary>
    public string Section()
    {
        var text = new StringBuilder($"""
            ## Beside fine-tuning

            The trained networks of `models/`, {100 * Share:0} % of their multiply-adds, accuracy in % of the 10,000 test images of
            Fashion-MNIST. Each row is one removal; {steps} steps of 64 training images at a tenth of the rate of the network's recipe.

            | network | whole | removed by | nothing after it | recovered | {steps} steps | recovered, {steps} steps | recovery, s |
            | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        foreach (string network in networks)
        {
            TrainPlan recipe = BaselineReproduction.Plan(network, null, dataDir);
            string start = SizeReproduction.Start(network);
            RunRecord whole = runs.Do($"{network}-whole", () => Model.Open(start), new CompressionOptions(), _ => { });
            foreach (string method in Methods)
            {
                (double nothing, _) = Do(recipe, start, network, method, 0, recover: false);
                (double recovered, double seconds) = Do(recipe, start, network, method, 0, recover: true);
                (double tuned, _) = Do(recipe, start, network, method, steps, recover: false);
                (double both, _) = Do(recipe, start, network, method, steps, recover: true);
                string row = FormattableString.Invariant($"| `{network}` | {100 * whole.Accuracy:0.00} | `{method}` | {100 * nothing:0.00} | ")
                    + FormattableString.Invariant($"{100 * recovered:0.00} | {100 * tuned:0.00} | {100 * both:0.00} | {seconds:0.0} |");
                context.Terminal.Line(row);
                text.AppendLine(row);
            }
        }
        string only = networks.Count < Networks.Count ? $" --networks {string.Join(',', networks)}" : "";
        text.Append($"""

            Seconds are of one processor, for choosing, fitting to 512 images without labels and removing. One seed.

            ```sh
            {Commands.Start} recovery --steps {steps}{only} --output-dir runs/recovery --output docs/recovery.md
            ```

            """);
        return text.ToString();
    }

    /// <summary>One run, and what of it was not training.</summary>
    private (double Accuracy, double Seconds) Do(TrainPlan recipe, string start, string network, string method, long tuning, bool recover)
    {
        string name = $"{network}-{method}-{(recover ? "recovered" : "plain")}-{tuning}", clock = Path.Combine(folder, name + ".seconds");
        CompressionMethod how = CompressionMethods.Get(method) with
        {
            TargetFlops = Share, FineTuneSteps = tuning, Seed = Seed, Recover = recover ? new RecoverOptions() : null,
        };
        RunRecord record = runs.Do(name, () => Model.Open(start), BaselineReproduction.Tuned(recipe, how), job =>
        {
            TimeSpan before = Environment.CpuUsage.TotalTime;
            job.Run();
            File.WriteAllText(clock, FormattableString.Invariant($"{(Environment.CpuUsage.TotalTime - before).TotalSeconds:0.0}\n"));
        });
        return (record.Accuracy, double.Parse(File.ReadAllText(clock), CultureInfo.InvariantCulture));
    }
}
