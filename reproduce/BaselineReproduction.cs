using System.Globalization;
using System.Text;
using Espalier.Cli;
using Espalier.Cli.Display;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>A trained network.</summary>
/// <param name="Teacher">File of the network that taught it; null for none.</param>
/// <param name="Curve">Accuracy on the test images by epoch.</param>
internal sealed record Baseline(string Name, Model Model, ModelEvaluation Test, long Steps, double Epochs, long Bytes,
    string? Teacher, IReadOnlyList<(double Epoch, double Accuracy)> Curve);

/// <summary>
/// The networks that other experiments begin with, trained from the recipes beside this program, which are those of `train`.
/// A run that was stopped goes on; the weights of the last step count, and nothing is chosen by the test images.
/// </summary>
internal sealed class BaselineReproduction(CommandContext context, string folder, string? dataDir, string? models)
{
    private const int EvaluationBatch = 250;
    private const string Accuracy = "eval/accuracy", Plain = "vit-small-28", Convolutional = "vit-conv-28", Drawn = "baselines.svg";

    private readonly DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
    private readonly RunHours hours = new();

    /// <summary>Accuracies that the networks were to reach; the transformers, as such, 90 %.</summary>
    private static readonly Dictionary<string, double> Aims = new()
    {
        ["resnet20"] = 0.935, ["vgg16-quarter"] = 0.925, [Plain] = 0.9, [Convolutional] = 0.9,
    };

    public static IReadOnlyList<string> Names { get; } = ["resnet20", "vgg16-quarter", Plain, Convolutional];

    /// <summary>The options of a network's training.</summary>
    public static string Recipe(string name) => Path.Combine(AppContext.BaseDirectory, "recipes", name + ".json");

    /// <summary>What the recipe says, with the files in a folder.</summary>
    public static TrainPlan Plan(string name, string? folder, string? dataDir)
    {
        TrainPlan plan = TrainCommand.Plan("train", "--recipe", Recipe(name));
        return plan with
        {
            DataDir = dataDir,
            Options = plan.Options with { OutputDir = folder, Name = name, Resume = folder is not null },
        };
    }

    /// <summary>Training that goes on from a trained network: as its recipe says, at a tenth of the rate.</summary>
    public static CompressionOptions Tuned(TrainPlan recipe, CompressionOptions options) => options with
    {
        Training = new TrainOptions
        {
            BatchSize = 64, LearningRate = recipe.Options.LearningRate / 10, Optimizer = recipe.Options.Optimizer,
            WeightDecay = recipe.Options.WeightDecay,
        },
        Task = new() { LabelSmoothing = recipe.Recipe.LabelSmoothing },
    };

    /// <summary>Trains one, as far as it is not trained yet.</summary>
    /// <returns>Null where it was interrupted.</returns>
    public Baseline? Train(string name)
    {
        TrainPlan plan = Plan(name, folder, dataDir);
        var files = new RunFolder(folder, name);
        using var run = new TrainRun(plan, data, context);
        context.Terminal.Line($"{name}: espalier train --recipe reproduce/recipes/{name}.json");
        if (!hours.Train(files, run.TotalSteps, () => run.Run().Completed)) return null;
        using Session session = Session.Open(files.Model);
        ModelEvaluation test = Evaluated(name, session);
        Model model = Model.Open(files.Model);
        string? published = models is null ? null : PathOf(name);
        if (published is not null)
        {
            Folders.Make(models!);
            model.Card = model.Card.With(string.Create(CultureInfo.InvariantCulture,
                $"{test.Accuracy:0.00%} of {test.Images} test images; recipe reproduce/recipes/{name}.json"));
            model.Save(published);
        }
        return Of(plan, run, model, test, published ?? files.Model);
    }

    /// <summary>Whether there is a file of it among those that are published.</summary>
    public bool IsPublished(string name) => models is not null && File.Exists(PathOf(name));

    /// <summary>A network that was trained elsewhere, by its file.</summary>
    public Baseline Published(string name)
    {
        TrainPlan plan = Plan(name, folder, dataDir);
        using var run = new TrainRun(plan with { Options = plan.Options with { OutputDir = null, Resume = false } }, data, context);
        Model model = Model.Open(PathOf(name));
        using Session session = model.Session();
        return Of(plan, run, model, Evaluated(name, session), PathOf(name));
    }

    private string PathOf(string name) => Path.Combine(models!, name + ".safetensors");

    private ModelEvaluation Evaluated(string name, Session session) =>
        new EvaluationRun(context, session, data.Test, EvaluationBatch).Run(name, prune: false);

    private Baseline Of(TrainPlan plan, TrainRun run, Model model, ModelEvaluation test, string file)
    {
        string name = plan.Options.Name;
        double epochs = (double)run.TotalSteps * plan.Options.BatchSize / run.Counts.Train;
        return new Baseline(name, model, test, run.TotalSteps, epochs, new FileInfo(file).Length, plan.Recipe.Teacher,
            Curve(new RunFolder(folder, name).History, epochs / run.TotalSteps));
    }

    /// <summary>How long a training will take on this machine from its beginning, by a few steps.</summary>
    public TimeSpan Estimate(string name)
    {
        TrainPlan plan = Plan(name, null, dataDir);
        using var whole = new TrainRun(plan, data, context);
        return TrainCommand.Step(plan, data, context) * whole.TotalSteps;
    }

    internal static IReadOnlyList<(double Epoch, double Accuracy)> Curve(string history, double epochsStep)
    {
        IEnumerable<HistoryPoint> evaluated = TrainingHistory.Read(history).Where(p => p.Values.ContainsKey(Accuracy));
        return [.. evaluated.Select(p => (p.Step * epochsStep, p.Values[Accuracy]))];
    }

    /// <summary>The section of the page of results.</summary>
    /// <param name="drawn">Whether there is a picture of curves.</param>
    /// <param name="trained">Whether this command trains what is not trained yet.</param>
    public string Section(IReadOnlyList<Baseline> all, bool drawn, bool trained)
    {
        bool taught = all.Any(b => b.Teacher is not null);
        string kept = models is null ? "" : ", and what a reader can try every method on: `models/NAME.safetensors`";
        var text = new StringBuilder(FormattableString.Invariant($"""
            ## Trained networks

            What the other experiments begin with{kept}. All
            {data.Train.Count:#,0} training images of Fashion-MNIST, none held out; the weights of the last step, one seed. Accuracy is of the
            {data.Test.Count:#,0} test images, which nothing was chosen by.
            {Verdict(all)}

            | network | accuracy, % | epochs | steps |{(taught ? " taught by |" : "")} parameters | MACs an image | file |
            | --- | ---: | ---: | ---: |{(taught ? " --- |" : "")} ---: | ---: | ---: |

            """));
        foreach (Baseline b in all)
            text.AppendLine(FormattableString.Invariant($"| `{b.Name}` | {100 * b.Test.Accuracy:0.00} | {b.Epochs:0} | {b.Steps} ")
                + (!taught ? "" : $"| {(b.Teacher is null ? "" : $"`{Path.GetFileNameWithoutExtension(b.Teacher)}`")} ")
                + FormattableString.Invariant($"| {b.Model.ParameterCount / 1e3:0.0} k | {b.Test.MultiplyAdds / 1e6:0.0} M ")
                + $"| {Format.Bytes(b.Bytes)} |");
        if (drawn) text.Append($"\n![Accuracy by epoch](images/{Drawn})\n");
        text.Append($"""

            Each is made by `espalier train --recipe reproduce/recipes/NAME.json`; {(trained ? "all of them and this section by the first line"
                : "this section by the first line from their files, and all of them by the same without `--finished`")},
            while the second says how long that takes. {RunOrigin.Sentence(folder, all.Select(b => b.Name))}
            {RunHours.Sentence([.. all.Select(b => RunHours.Of(folder, b.Name))])} {hours.Measuring()}

            ```sh
            {GivenCommand.Of(context, "baselines")}
            {Commands.Start} baselines --plan
            ```

            """);
        return text.ToString();
    }

    /// <summary>Which networks reached what they were to, and what convolutions gave.</summary>
    internal static string Verdict(IReadOnlyList<Baseline> all)
    {
        string[] below = [.. all.Where(b => b.Test.Accuracy < Aims[b.Name]).Select(b => $"`{b.Name}`")];
        string aims = string.Join(", ", all.Select(b => FormattableString.Invariant($"{100 * Aims[b.Name]:0.#}")));
        double? Of(string name) => all.FirstOrDefault(b => b.Name == name)?.Test.Accuracy;
        string? gain = Of(Convolutional) - Of(Plain) is not { } more ? null
            : $"`{Convolutional}` has the blocks of `{Plain}` behind three convolutions, attention that begins as trained ones are, and "
                + FormattableString.Invariant($"mirror images: {100 * more:+0.00;-0.00} points.");
        return Sentences.Join($"They were to reach {aims} %: all do{(below.Length == 0 ? "" : " but " + string.Join(", ", below))}.", gain);
    }

    /// <summary>Draws the curves beside a page, where all of them are there or none were drawn before.</summary>
    /// <returns>Whether there is a picture now.</returns>
    public static bool SavePicture(IReadOnlyList<Baseline> all, string page)
    {
        Baseline[] known = [.. all.Where(b => b.Curve.Count > 0)];
        bool there = File.Exists(Plot.PathOf(page, Drawn)), draws = known.Length == all.Count || (!there && known.Length > 0);
        if (draws) Picture(known).Save(page, Drawn);
        return draws || there;
    }

    /// <summary>Accuracy by epoch.</summary>
    public static Plot Picture(IReadOnlyList<Baseline> all)
    {
        var plot = new Plot("epochs", 0, Math.Ceiling(all.Max(b => b.Epochs)), "accuracy, %", 80, 95);
        for (int i = 0; i < all.Count; i++)
        {
            string color = Plot.Color(i, all.Count);
            plot.Line([.. all[i].Curve.Where(p => p.Accuracy >= 0.8).Select(p => (p.Epoch, 100 * p.Accuracy))], color, all[i].Name);
        }
        return plot;
    }
}
