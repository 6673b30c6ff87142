using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>What a comparison begins with.</summary>
/// <param name="Network">The trained network, by the name of its recipe.</param>
/// <param name="File">Its file.</param>
/// <param name="LearningRate">Of all training that goes on from it.</param>
internal sealed record ComparisonStart(string Network, string File, float LearningRate);

/// <summary>
/// The runs behind a table of networks made smaller: from one trained network every method at every budget with the same number of
/// steps, the whole network with these steps too, and every shape that came out with new weights, trained as the whole one was
/// and for as many steps as it and its fine-tuning had together.
/// </summary>
internal sealed class ComparisonRuns(CommandContext context, string folder, string? dataDir, ComparisonStart start, long steps,
    IReadOnlyList<double> budgets, IReadOnlyList<ComparedMethod> methods, bool scratch, RunHours? hours = null)
{
    public const int BatchSize = 64;

    /// <summary>The id of the whole network.</summary>
    public const string Whole = "whole";

    private readonly TrainPlan recipe = BaselineReproduction.Plan(start.Network, null, dataDir);
    private readonly SortedDictionary<string, string> refused = new(StringComparer.Ordinal);
    private readonly long trained = TrainedSteps(start.Network, dataDir, context);

    /// <summary>The trained network.</summary>
    public ComparisonStart Start => start;

    /// <summary>Training steps of each method.</summary>
    public long Steps => steps;

    /// <summary>Steps of each shape from scratch.</summary>
    public long ScratchSteps => trained + steps;

    /// <summary>Shares of the multiply-adds to keep.</summary>
    public IReadOnlyList<double> Budgets => budgets;

    /// <summary>The lines of the table at each of them.</summary>
    public IReadOnlyList<ComparedMethod> Methods { get; } = [.. methods.Where(m => m.NotFor != start.Network)];

    public NetworkRuns Runs { get; } = new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28, steps, hours: hours);

    /// <summary>What could not be done, and why: "METHOD at BUDGET" to a line.</summary>
    public IReadOnlyDictionary<string, string> Refused => refused;

    /// <summary>A run's files.</summary>
    public static string Name(string id, double budget, ulong seed) => FormattableString.Invariant($"{id}-{budget:0.##}-{seed}");

    /// <summary>The run that trains a line's shape from scratch. Lists of weights say nothing of dropped tokens: there each method
    /// is a shape of its own.</summary>
    public static string Scratch(ComparedMethod method, RunRecord record, double budget, ulong seed) =>
        Name("scratch-" + (method.Tokens ? method.Id : record.Shape), budget, seed);

    /// <summary>Everything with this seed.</summary>
    public void Train(ulong seed)
    {
        CompressionOptions plain = Tuned(new CompressionOptions { Seed = seed });
        Runs.Do(Name(Whole, 1, seed), Open, plain, job => job.Train("train on", steps), trained);
        foreach (var (method, budget) in Runs.Mine(Lines(), l => Name(l.Method.Id, l.Budget, seed)))
        {
            RunRecord record;
            try
            {
                using Model? whole = method.Distilled ? Runs.Open(Name(Whole, 1, seed)) : null;
                CompressionOptions how = TaughtBy(whole, Tuned(method.Options(steps, budget, seed)));
                record = Runs.Do(Name(method.Id, budget, seed), Open, how, job => ShareTargets.Run(job, budget), trained);
            }
            catch (EspalierException e)
            {
                // The other methods are still worth their table.
                string line = FormattableString.Invariant($"{method.Name} at {budget:0.##}");
                context.Terminal.Line($"{line} is left out: {e.Message}");
                refused[line] = e.Message;
                continue;
            }
            if (!scratch || !method.HasScratch) continue;
            Model Fresh() => Runs.Fresh(Name(method.Id, budget, seed), seed);
            using Teacher? teacher = LoadTeacher();
            Runs.Do(Scratch(method, record, budget, seed), Fresh, FromScratch(seed, teacher),
                job => job.Train("train", ScratchSteps), augmentation: recipe.Augmentation);
        }
    }

    /// <summary>How long each run with one seed will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates(ulong seed)
    {
        CompressionOptions plain = Tuned(new CompressionOptions { Seed = seed });
        yield return ($"{start.Network}, whole", Runs.Estimate(Open, _ => plain, job => job.Train("train on", 8), steps));
        foreach (var (method, budget) in Lines())
        {
            string name = FormattableString.Invariant($"{start.Network}, {method.Name} at {budget:0.##}");
            TimeSpan time;
            try
            {
                time = Runs.Estimate(Open, few => Tuned(method.Options(few, budget, seed)),
                    job => ShareTargets.Run(job, budget), steps);
            }
            catch (EspalierException e)
            {
                name += $": left out, {e.Message}";
                time = TimeSpan.Zero;
            }
            yield return (name, time);
        }
        if (scratch)
        {
            int shapes = Lines().Count(l => l.Method.HasScratch);
            using Teacher? teacher = LoadTeacher();
            TimeSpan each = Runs.Estimate(Open, _ => FromScratch(seed, teacher), job => job.Train("train", 8), ScratchSteps);
            yield return (FormattableString.Invariant($"{start.Network}, {shapes} shapes from scratch, as if whole"), shapes * each);
        }
    }

    /// <summary>As all methods are trained here.</summary>
    public CompressionOptions Tuned(CompressionOptions options) => options with
    {
        Training = new TrainOptions
        {
            BatchSize = BatchSize, LearningRate = start.LearningRate,
            Optimizer = recipe.Options.Optimizer, WeightDecay = recipe.Options.WeightDecay,
        },
        Task = new() { LabelSmoothing = recipe.Recipe.LabelSmoothing },
    };

    private IEnumerable<(ComparedMethod Method, double Budget)> Lines() => Methods.SelectMany(m => budgets.Select(b => (m, b)));

    private Model Open() => Model.Open(start.File);

    private static CompressionOptions TaughtBy(Model? whole, CompressionOptions options) => whole is null ? options : options with
    {
        Task = new() { Distillation = Distillation.Hinton, Teacher = x => whole.Graph.Prepared(training: false).Run(x) },
    };

    /// <summary>As the whole network was trained.</summary>
    private CompressionOptions FromScratch(ulong seed, Teacher? teacher) => new()
    {
        Seed = seed, Training = recipe.Options, Task = recipe.Recipe.Task(teacher),
    };

    private Teacher? LoadTeacher()
    {
        using Model student = Open();
        return recipe.Recipe.LoadTeacher(student.NumClasses, student.Card.Classes, student.Card.Preprocessing!);
    }

    private static long TrainedSteps(string network, string? dataDir, CommandContext context)
    {
        DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
        using var run = new TrainRun(BaselineReproduction.Plan(network, null, dataDir), data, context);
        return run.TotalSteps;
    }
}
