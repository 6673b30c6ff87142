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

    public static IReadOnlyList<string> Networks { get; } = ["resnet20", "vgg16-quarter", "vit-small-28"];

    /// <summary>Does what is not done yet and gives the section of the page.</summary>
    public string Section()
    {
        var text = new StringBuilder(FormattableString.Invariant($"""
            ## Beside fine-tuning

            The trained networks of `models/`, {100 * Share:0} % of their multiply-adds, accuracy in % of the {runs.Test.Count:#,0} test images of
            Fashion-MNIST. Each row is one removal; {steps} steps of 64 training images at a tenth of the rate of the network's recipe.

            | network | whole | removed by | nothing after it | recovered | {steps} steps | recovered, {steps} steps | recovery, s |
            | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |

            """));
        foreach (string network in networks)
        {
            TrainPlan recipe = BaselineReproduction.Plan(network, null, dataDir);
            string start = SizeReproduction.Start(network);
            RunRecord whole = runs.Do($"{network}-whole", () => Model.Open(start), new CompressionOptions(), _ => { });
            foreach (string method in Methods)
            {
                RunRecord nothing = Do(recipe, start, network, method, 0, recover: false);
                RunRecord recovered = Do(recipe, start, network, method, 0, recover: true);
                RunRecord tuned = Do(recipe, start, network, method, steps, recover: false);
                RunRecord both = Do(recipe, start, network, method, steps, recover: true);
                string[] found = [.. new[] { nothing, recovered, tuned, both }.Select(r => FormattableString.Invariant($"{100 * r.Accuracy:0.00}"))];
                string seconds = recovered.Seconds is { } s ? FormattableString.Invariant($"{s:0.0}") : "not kept";
                string row = FormattableString.Invariant($"| `{network}` | {100 * whole.Accuracy:0.00} | `{method}` | ")
                    + $"{string.Join(" | ", found)} | {seconds} |";
                context.Terminal.Line(row);
                text.AppendLine(row);
            }
        }
        text.Append($"""

            Seconds are of one processor, for choosing, fitting to {new RecoverOptions().Images} images without labels and removing.
            One seed. {runs.Made} {runs.Hours.Measuring()}

            ```sh
            {GivenCommand.Of(context, "recovery")}
            ```

            """);
        return text.ToString();
    }

    /// <summary>How long every run will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates() =>
        from network in networks
        let recipe = BaselineReproduction.Plan(network, null, dataDir)
        from method in Methods
        from recover in new[] { false, true }
        select ($"{network}, {method}{(recover ? ", recovered" : "")}", runs.Estimate(() => Model.Open(SizeReproduction.Start(network)),
            few => BaselineReproduction.Tuned(recipe, Options(method, few, recover)), job => job.Run(), steps));

    private RunRecord Do(TrainPlan recipe, string start, string network, string method, long tuning, bool recover)
    {
        string name = $"{network}-{method}-{(recover ? "recovered" : "plain")}-{tuning}";
        return runs.Do(name, () => Model.Open(start), BaselineReproduction.Tuned(recipe, Options(method, tuning, recover)), job => job.Run());
    }

    private static CompressionMethod Options(string method, long tuning, bool recover) => CompressionMethods.Get(method) with
    {
        TargetFlops = Share, FineTuneSteps = tuning, Seed = Seed, Recover = recover ? new RecoverOptions() : null,
    };
}
