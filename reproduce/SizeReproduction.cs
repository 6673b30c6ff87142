using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;

namespace Espalier.Reproduce;

/// <summary>
/// The runs behind the tables of smaller numbers: each trained network by every line of <see cref="SizeMethod"/>, with the same
/// number of steps where it trains, at a tenth of the rate that it was trained with.
/// </summary>
internal sealed class SizeReproduction(CommandContext context, string folder, string? dataDir, long steps,
    IReadOnlyList<string> networks, IReadOnlyList<SizeMethod> methods)
{
    private readonly Dictionary<string, TrainPlan> recipes = networks.ToDictionary(n => n,
        n => BaselineReproduction.Plan(n, null, dataDir));

    public long Steps => steps;

    public IReadOnlyList<SizeMethod> Methods => methods;

    public NetworkRuns Runs { get; } = new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28, steps);

    /// <summary>The networks: one of each kind that was trained to its aim.</summary>
    public static IReadOnlyList<string> Trained { get; } = ["resnet20", "vgg16-quarter", "vit-conv-28"];

    /// <summary>The trained network that everything begins with.</summary>
    public static string Start(string network) => $"models/{network}.safetensors";

    /// <summary>A run's files.</summary>
    public static string Name(string network, SizeMethod method, ulong seed) => $"{network}-{method.Id}-{seed}";

    /// <summary>Everything with these seeds: of all networks what has no training first, and once, as it takes minutes and the
    /// rest hours.</summary>
    public void Train(IReadOnlyList<ulong> seeds)
    {
        Runs.RequireSteps();
        var lines = from m in methods.OrderBy(m => !m.Untrained)
                    from s in m.Untrained ? seeds.Order().Take(1) : seeds
                    from n in networks
                    select (Network: n, Method: m, Seed: s);
        foreach (var (network, method, seed) in Runs.Mine(lines, l => Name(l.Network, l.Method, l.Seed)))
        {
            try
            {
                Runs.Do(Name(network, method, seed), () => Model.Open(Start(network)),
                    Tuned(network, method.Options(steps, seed)), job => method.Run(job, steps));
            }
            catch (EspalierException e)
            {
                // The other lines are still worth their table.
                context.Terminal.Line($"{network}, {method.Name} is left out: {e.Message}");
            }
        }
    }

    /// <summary>How long each line with all its seeds will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates(IReadOnlyList<ulong> seeds) =>
        from network in networks
        from method in methods
        let often = method.Untrained ? 1 : seeds.Count
        select ($"{network}, {method.Name}", often * Runs.Estimate(() => Model.Open(Start(network)),
            few => Tuned(network, method.Options(few, seeds[0])), job => method.Run(job, 8), method.Untrained ? 0 : steps));

    private CompressionOptions Tuned(string network, CompressionOptions options) =>
        BaselineReproduction.Tuned(recipes[network], options);
}
