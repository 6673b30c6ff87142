using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier train`: trains or fine-tunes, plain or with APT's agents; resumes.</summary>
internal static class TrainVerb
{
    public static Command Create(CommandContext context)
    {
        var flags = new TrainFlags();
        var train = new Verb("train",
            "Trains or fine-tunes a vision transformer, plain or with APT's pruning agents, or a convolutional network; behind mpirun in "
            + "several processes.",
            "espalier train --data fashion-mnist --model-type vit-small-28 --optimizer adamw --num-steps 4000 --target-flops 0.5",
            "espalier train --dataset cifar100 --model-type ViT-B_16 --pretrained ViT-B_16.npz --name cifar",
            "espalier train --data cifar10 --model-type resnet20 --num-steps 20000 --weight-decay 0.0005",
            "espalier train --data cifar10 --init small.safetensors --num-steps 2000 --teacher whole.safetensors",
            "espalier train --recipe output/cifar.recipe.json --epochs 20 --name longer",
            "espalier train --data photos --model-type resnet18 --pretrained resnet18.pth --freeze 2 --name mine",
            "espalier train --name cifar --resume") { RunsTogether = true };
        Command verb = flags.AddTo(train);
        verb.SetAction(parse => Together.Run(context, parse, ranks =>
        {
            TrainPlan plan = flags.Read(parse);
            return Run(plan with { Options = plan.Options with { Ranks = ranks } }, parse, context);
        }));
        return verb;
    }

    private static int Run(TrainPlan plan, ParseResult parse, CommandContext context)
    {
        Terminal terminal = context.Terminal;
        bool writes = plan.Options.Writes;
        if (plan is { Overwrite: true, Options.Resume: true })
            throw new EspalierException("--resume goes on with a run and --overwrite begins it again; leave one of them out");
        var files = new RunFolder(plan.Options.OutputDir!, plan.Options.Name);
        if (!plan.Options.Resume && !plan.Overwrite && new[] { files.State, files.Model }.FirstOrDefault(File.Exists) is { } there)
            throw new EspalierException($"{there}: is of an earlier run; --resume goes on with it, --overwrite begins again in its "
                + "place, and --name NAME begins another");
        if (plan.Options.Resume && !plan.Overwrite && !File.Exists(files.State) && File.Exists(files.Model))
            throw new EspalierException($"{files.State}: is gone, so that the run cannot go on; --init {files.Model} with another --name "
                + "trains its network on, --overwrite begins again");
        using var run = new TrainRun(plan, context.Opened(Datasets.Open(plan.Data, plan.DataDir, strict: plan.Strict)), context)
        {
            // What is refused must not change the recipe of a run that is there.
            Begun = writes ? () => RecipeFile.Write(files.Recipe, parse) : null,
        };
        Announce(run, plan, terminal);
        TrainResult result = run.Run();
        if (!result.Completed)
        {
            if (File.Exists(files.State)) terminal.Line($"resume with: {ResumeCommand(context.Arguments)}");
            return context.ExitCode;
        }
        if (writes && run.HeldOut && result.Evaluation is not null) PrintTest(run, plan, terminal);
        terminal.Line($"model       {files.Model}");
        terminal.Line($"recipe      {files.Recipe}");
        foreach (string name in result.Best.Keys)
        {
            string best = files.Best(result.Best.Count == 1 ? null : name);
            string split = run.HeldOut ? "held-out" : "test";
            if (File.Exists(best))
                terminal.Line($"best        {best} ({name}: {Format.Percent(result.Best[name])} on the {split} images)");
        }
        return ExitCodes.Done;
    }

    private static void Announce(TrainRun run, TrainPlan plan, Terminal terminal)
    {
        Model net = run.Network.Model;
        var costs = new RowCosts(net.Graph);
        var (train, selection, test) = run.Counts;
        terminal.Line($"data        {run.Data.Info.Name}: {train} training images, "
            + (run.HeldOut ? $"{selection} held out to choose by, {test} for testing" : $"{test} for testing"));
        terminal.Line($"model       {net.Description}, {Format.Large(net.ParameterCount)} parameters, "
            + $"{Format.Large(costs.Dense)} MACs an image of {net.ImageSize} pixels"
            + (costs.KeepsAfter.Count > 0 ? $", agents after {string.Join(", ", costs.KeepsAfter)}" : ""));
        PreprocessChoice.Show(terminal, run.Network.Preprocessing);
        if (run.Network.Start is { } start) terminal.Line($"start       {plan.Init ?? plan.Pretrained}: {start}");
        TrainOptions options = run.Options;
        terminal.Line($"run         {options.Steps} steps of {options.BatchSize} images, "
            + $"{Format.Number((double)options.Steps * options.BatchSize / train, "0.#")} passes over the training images"
            + (options.Ranks is { } ranks ? $", by {ranks.Count} processes" : "")
            + (options is { SyncBatchNorm: true, Ranks.Count: > 1 } ? ", batch norms over the images of all" : "")
            + (options.FreezeSteps > 0 ? $", the first {options.FreezeSteps} steps of the head alone" : ""));
        if (options.CheckpointActivations)
        {
            ActivationMemory memory = net.Graph.Prepared(training: true).ActivationMemory;
            int images = options.BatchSize / options.MicroBatches;
            terminal.Line($"memory      {memory.Sections} sections keep about {Format.Bytes(memory.Checkpointed * images)} of "
                + $"activations for {images} images, in place of {Format.Bytes(memory.Whole * images)}; "
                + $"{Format.Share(memory.Recomputed)} of the forward pass is computed twice");
        }
        if (TrainingEstimate.Of(costs.Dense, options, plan.Method is not null) is { } estimate)
            terminal.Line($"time        {estimate}");
    }

    private static void PrintTest(TrainRun run, TrainPlan plan, Terminal terminal)
    {
        EvaluationRun test = run.OnTest();
        bool drops = test.Model.AgentLayers.Count > 0;
        var rows = new List<ModelRow> { ModelRow.Of(drops ? "unpruned" : "plain", test, prune: false) };
        if (drops) rows.Add(ModelRow.Of("pruned", test, prune: true));
        terminal.Line($"on the {rows[0].Evaluation.Images} test images, at the end of the run:");
        Tables.Compare(terminal, rows);
        // Without a budget agents drop whatever is worthless to the answer, which may be more, or less, than is wanted.
        if (drops && plan.Method?.Settings.SingleOrDefault(s => s.Name == "budget")?.Of(plan.Method) == "none")
            terminal.Line("no budget   pruned passes spend what the agents left, "
                + $"{Format.Percent(rows[1].Evaluation.MultiplyAdds / rows[0].Evaluation.MultiplyAdds)} of the multiply-adds; "
                + "--target-flops SHARE says how much it shall be");
    }

    private static string ResumeCommand(IEnumerable<string> arguments)
    {
        IEnumerable<string> words = arguments.Where(a => a is not ("--resume" or "--overwrite")).Append("--resume");
        return "espalier " + string.Join(' ', words.Select(w => w.Contains(' ', StringComparison.Ordinal) ? $"\"{w}\"" : w));
    }
}
