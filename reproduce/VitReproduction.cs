using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>
/// The runs behind the table of vision transformers made smaller: from one trained transformer every method at every budget with
/// the same number of steps, the whole network with these steps too, and every shape that came out with new weights, trained as
/// the whole one was and for as many steps as it and its fine-tuning had together.
/// </summary>
internal sealed class VitReproduction(CommandContext context, string folder, string? dataDir, string model, long steps,
    IReadOnlyList<double> budgets, IReadOnlyList<VitMethod> methods, bool scratch)
{
    public const int BatchSize = 64;
    public const float LearningRate = 5e-4f;

    /// <summary>The id of the whole network.</summary>
    public const string Whole = "whole";

    private const string Baseline = "vit-small-28";

    private readonly TrainPlan recipe = BaselineReproduction.Plan(Baseline, null, dataDir);
    private readonly SortedDictionary<string, string> refused = new(StringComparer.Ordinal);
    private readonly long trained = TrainedSteps(dataDir, context);

    /// <summary>Training steps of each method.</summary>
    public long Steps => steps;

    /// <summary>Steps of each shape from scratch.</summary>
    public long ScratchSteps => trained + steps;

    /// <summary>Shares of the multiply-adds to keep.</summary>
    public IReadOnlyList<double> Budgets => budgets;

    /// <summary>The lines of the table at each of them.</summary>
    public IReadOnlyList<VitMethod> Methods => methods;

    /// <summary>The trained transformer.</summary>
    public string ModelFile => model;

    public NetworkRuns Runs { get; } = new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28, steps);

    /// <summary>What could not be done, and why: "METHOD at BUDGET" to a line.</summary>
    public IReadOnlyDictionary<string, string> Refused => refused;

    /// <summary>A run's files.</summary>
    public static string Name(string id, double budget, ulong seed) => FormattableString.Invariant($"{id}-{budget:0.##}-{seed}");

    /// <summary>The run that trains a line's shape from scratch. Lists of weights say nothing of dropped tokens: there each method
    /// is a shape of its own.</summary>
    public static string Scratch(VitMethod method, RunRecord record, double budget, ulong seed) =>
        Name("scratch-" + (method.Tokens ? method.Id : record.Shape), budget, seed);

    /// <summary>Everything with this seed.</summary>
    public void Train(ulong seed)
    {
        CompressionOptions plain = Tuned(new CompressionOptions { Seed = seed });
        Runs.Do(Name(Whole, 1, seed), Open, plain, job => job.Train("train on", steps), trained);
        foreach (var (method, budget) in Lines())
        {
            RunRecord record;
            try
            {
                CompressionOptions how = Tuned(method.Options(steps, budget, seed));
                record = Runs.Do(Name(method.Id, budget, seed), Open, how, job => VitTargets.Run(job, budget), trained);
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
        yield return (Whole, Runs.Estimate(Open, _ => plain, job => job.Train("train on", 8), steps));
        foreach (var (method, budget) in Lines())
        {
            string name = FormattableString.Invariant($"{method.Name} at {budget:0.##}");
            TimeSpan time;
            try
            {
                time = Runs.Estimate(Open, few => Tuned(method.Options(few, budget, seed)),
                    job => VitTargets.Run(job, budget), steps);
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
            yield return (FormattableString.Invariant($"{shapes} shapes from scratch, as if whole"), shapes * each);
        }
    }

    private IEnumerable<(VitMethod Method, double Budget)> Lines() => methods.SelectMany(m => budgets.Select(b => (m, b)));

    private Model Open() => Model.Open(model);

    /// <summary>As all methods are trained here.</summary>
    public CompressionOptions Tuned(CompressionOptions options) => options with
    {
        Training = new TrainOptions
        {
            BatchSize = BatchSize, LearningRate = LearningRate,
            Optimizer = recipe.Options.Optimizer, WeightDecay = recipe.Options.WeightDecay,
        },
        Task = new() { LabelSmoothing = recipe.Recipe.LabelSmoothing },
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

    private static long TrainedSteps(string? dataDir, CommandContext context)
    {
        DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
        using var run = new TrainRun(BaselineReproduction.Plan(Baseline, null, dataDir), data, context);
        return run.TotalSteps;
    }
}
