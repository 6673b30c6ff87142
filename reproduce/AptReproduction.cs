using System.Globalization;
using Espalier.Cli;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>One way to go on training a trained transformer.</summary>
/// <param name="Id">A name for files.</param>
/// <param name="Flags">The options of `train` that make the difference.</param>
/// <param name="Times">Its steps are so many times the steps of the others.</param>
internal sealed record AptLine(string Id, string Name, string Flags, double Times = 1);

/// <summary>
/// The runs behind APT's table of results, in the setting that it was published for: for each seed a plain transformer is trained by
/// the recipe of the trained one, and goes on from there plainly and with APT at some budgets, with equal steps and rates.
/// Two more lines tell what else might have helped: APT's passes with agents that drop nothing, and plain training that takes as
/// long as APT's. A run that is finished in the folder is not trained again.
/// </summary>
internal sealed class AptReproduction(CommandContext context, string folder, string? dataDir, long steps, IReadOnlyList<AptLine> lines)
{
    /// <summary>The preset of all models.</summary>
    public const string Network = "vit-small-28";

    public const int BatchSize = 64;

    /// <summary>The line that the others are held against.</summary>
    public const string Plain = "plain";

    /// <summary>Of the plain transformers that the lines begin with.</summary>
    public const string StartRecipe = $"reproduce/recipes/{Network}.json";

    private const string Start = "start";
    private const string Decayed = "--weight-decay 0.05 --label-smoothing 0.1";
    private const string Plainly = "--plain-loss 1", Distilled = "--self-distill 0.5", Apart = "--clip groups";
    private const string Taught = $"{Plainly} {Distilled} {Apart}";

    /// <summary>APT with one thing taken away or put as published, to see what carries it.</summary>
    private static readonly (string Id, string Name, string Flags)[] Changes =
    [
        ("no-plain-loss", "without the plain loss", $"{Distilled} {Apart}"),
        ("no-self-distill", "without self-distillation", $"{Plainly} {Apart}"),
        ("joint-clip", "gradients limited jointly", $"{Plainly} {Distilled} --clip joint"),
        ("true-class", "paid by the true class", $"{Taught} --reward true-class"),
        ("plain-context", "judged among all tokens", $"{Taught} --agent-context plain"),
        ("no-exploration", "no random probes", $"{Taught} --exploration 0"),
        ("four-probes", "four probes", $"{Taught} --probes 4"),
        ("untaught", "agents that do not learn", $"{Taught} --train-only {Backbone}"),
    ];

    // All that is trained but the agents.
    private const string Backbone = "transformer.encoder.layer*,transformer.embeddings*,transformer.encoder.encoder_norm*,head*";

    public long Steps => steps;

    public RunHours Hours { get; } = new();

    public IReadOnlyList<AptLine> Lines => lines;

    /// <summary>What is compared, the plain transformer first.</summary>
    /// <param name="budgets">Shares of the multiply-adds that pruned passes may spend.</param>
    public static IReadOnlyList<AptLine> All(IReadOnlyList<double> budgets) =>
    [
        new(Plain, "plain", $"--method none {Decayed}"),
        .. budgets.Select(b => Budgeted(b, "", "", Taught)),
        new("control", "APT's passes, nothing dropped", $"--keep-bias 100 --reward-margin -1 {Taught} {Decayed}"),
        new("longer", "plain, 2.5 times the steps", $"--method none {Decayed}", 2.5),
    ];

    /// <summary>What carries APT: the same lines, and APT without one of its parts.</summary>
    public static IReadOnlyList<AptLine> Ablation(IReadOnlyList<double> budgets) =>
    [
        .. All(budgets),
        .. from budget in budgets from c in Changes select Budgeted(budget, $"-{c.Id}", $", {c.Name}", c.Flags),
    ];

    private static AptLine Budgeted(double budget, string id, string name, string flags)
    {
        string share = FormattableString.Invariant($"{budget:0.##}");
        return new AptLine($"apt-{share}{id}", $"APT{name}, budget {share}", $"--target-flops {share} {flags} {Decayed}");
    }

    /// <summary>Lines by their ids, with commas between, the plain one in any case; all where none is named.</summary>
    public static IReadOnlyList<AptLine> Of(IReadOnlyList<AptLine> all, string? ids)
    {
        if (ids is null) return all;
        string[] asked = Opt.List(ids);
        if (asked.FirstOrDefault(a => all.All(l => l.Id != a)) is { } unknown)
            throw new EspalierException($"--lines: there is no '{unknown}'; there are {string.Join(", ", all.Select(l => l.Id))}");
        return [.. all.Where(l => l.Id == Plain || asked.Contains(l.Id))];
    }

    public string Checkpoint(string line, ulong seed) => new RunFolder(folder, RunName(line, seed)).Model;

    /// <summary>The command whose run the plain transformer is that a seed's lines begin with.</summary>
    public static string StartCommand(ulong seed) =>
        $"espalier train --recipe {StartRecipe} --eval-every 0 --seed {seed} --name {RunName(Start, seed)}";

    /// <summary>The command whose run a line is. The weights of the last step count, so none is held out to choose by.</summary>
    public string Command(AptLine line, ulong seed) => string.Create(CultureInfo.InvariantCulture,
        $"espalier train --data fashion-mnist --init output/{RunName(Start, seed)}.safetensors {line.Flags} --optimizer adamw "
        + $"--learning-rate 0.0005 --train-batch-size {BatchSize} --num-steps {(long)(line.Times * steps)} --no-augment --hold-out 0 "
        + $"--eval-every 0 --seed {seed} --name {RunName(line.Id, seed)}");

    /// <summary>Trains every line with this seed.</summary>
    /// <returns>False where it was interrupted.</returns>
    public bool Train(ulong seed)
    {
        DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
        return Run(Start, StartCommand(seed)) && lines.All(line => Run(line.Id, Command(line, seed)));

        bool Run(string id, string command)
        {
            context.Terminal.Line($"{id}, seed {seed}: {command}");
            using var run = new TrainRun(Plan(command), data, context);
            return Hours.Train(new RunFolder(folder, RunName(id, seed)), run.TotalSteps, () => run.Run().Completed);
        }
    }

    /// <summary>How long each line with one seed will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates(ulong seed)
    {
        DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
        var baseline = new BaselineReproduction(context, folder, dataDir, null);
        yield return ("the transformer that a seed begins with", baseline.Estimate(Network));
        foreach (AptLine line in lines)
        {
            // What a seed begins with is not trained yet.
            TrainPlan plan = Plan(Command(line, seed).Replace($"output/{RunName(Start, seed)}.safetensors", SizeReproduction.Start(Network)));
            yield return (line.Name, TrainCommand.Step(plan, data, context) * (line.Times * steps));
        }
    }

    /// <summary>What a command says, with the files in this folder.</summary>
    internal TrainPlan Plan(string command)
    {
        string[] words = command.Replace("reproduce/recipes", Path.GetDirectoryName(BaselineReproduction.Recipe(Network)))
            .Replace("output/", folder + Path.DirectorySeparatorChar).Split(' ');
        TrainPlan plan = TrainCommand.Plan(words[1..]);
        return plan with
        {
            DataDir = dataDir,
            Options = plan.Options with { OutputDir = folder, EvalBatchSize = 100, Resume = true },
        };
    }

    /// <summary>What made the runs of some seeds, and how long they took, in sentences.</summary>
    public string Made(IEnumerable<ulong> seeds)
    {
        string[] names = [.. from id in lines.Select(l => l.Id).Prepend(Start) from s in seeds select RunName(id, s)];
        return Sentences.Join(RunOrigin.Sentence(folder, names), RunHours.Sentence([.. names.Select(n => RunHours.Of(folder, n))]));
    }

    /// <summary>A name for a run's files.</summary>
    private static string RunName(string line, ulong seed) => $"{line}-{seed}";
}
