using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Onnx;
using Espalier.Reporting;
using Espalier.Training;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>A network made smaller, and what it was before and after.</summary>
internal sealed class CompressRun(CompressPlan plan, CommandContext context)
{
    private readonly Terminal terminal = context.Terminal;
    private bool planned;

    public void Run()
    {
        using CompressInput input = plan.Source.Open(plan.Method.Seed, plan.NeedsImages);
        context.Opened(input.Pair);
        if (input.Skipped != input.Pair.Skipped) context.Opened(input.Skipped);
        RequireLabels(input);
        Folders.RefuseInput(plan.Output, plan.Source.Model, "--output");
        Folders.MakeFor(plan.Output, plan.PlanFile, plan.Report?.Path);
        if (plan is { Output: { } output, PlanOnly: false }) OnnxFile.RequireWritable(input.Model, output, Left());
        PreprocessChoice.Show(terminal, input.Preprocessing);
        if (plan.PlanOnly)
        {
            PlanDisplay.Show(new CompressionJob(input.Model, input.Data, plan.Method with { Calibration = input.Calibration },
                cancel: context.Cancel), plan.Method, terminal, plan.PlanFile);
            return;
        }
        terminal.Line($"model       goes to {plan.Output}");
        using Teacher? teacher = plan.Recipe.Teacher is null || plan.TeachesItself ? null
            : plan.Recipe.LoadTeacher(input.Model.NumClasses, input.Model.Card.Classes, input.Preprocessing);
        CompressionMethod method = plan.Method with { Task = plan.Task(teacher, input.Preprocessing), Calibration = input.Calibration };
        using IDisposable? _ = plan.Method.Training.OutputDir is null ? context.Interrupt?.Hold("without --output-dir nothing is kept")
            : context.Interrupt?.Hold();
        Table table = TrainingDisplay.Run(terminal, plan.Method.Name, progress =>
            Compress(new CompressionJob(input.Model, input.Data, method, progress, context.Cancel), input));
        terminal.Console.Write(table);
        if (CompressionOrder.TraitsOf(input.Model.Graph).HasFlag(NetworkTraits.FewBits))
            CompressNumbers.Bound(terminal, input.Model);
        string compared = input.IsNoise ? "on noise, since nobody named a data set (--data NAME)"
            : $"on {input.Pair.Test.Count} {(input.IsLabelled ? "test images of" : "held-out images without labels from")} "
                + input.Pair.Info.Name;
        terminal.Line($"{compared}; times are of an image, both networks in turn");
        if (plan.PlanFile is not null)
            terminal.Line(planned ? $"plan        {plan.PlanFile}" : "plan        none: channels were not removed");
        if (plan.Report is not null) terminal.Line($"report      {plan.Report.Path}");
        if (plan.Output is not null) terminal.Line($"model       {plan.Output}");
    }

    /// <summary>The share of the network that will be left at least, as far as is known: nothing where neither multiply-adds nor
    /// time are given.</summary>
    private double Left() => !plan.Method.Removes ? 1 : plan.Method.TargetFlops ?? plan.Method.TargetTime ?? 0;

    private void RequireLabels(CompressInput input)
    {
        if (input.IsLabelled) return;
        if (plan.Method.NeedsLabels || plan.PretrainSteps + plan.Method.TrainSteps + plan.Method.FineTuneSteps > 0)
            throw new EspalierException($"{plan.Source.Calibration}: its images have no labels, which "
                + (plan.Method.NeedsLabels ? plan.Method.Name : "training") + " needs; give --data NAME as well");
    }

    /// <summary>Trains where asked to, runs the method, and measures before and after.</summary>
    private Table Compress(CompressionJob job, CompressInput input)
    {
        Model model = input.Model;
        job.Check();
        job.Train("train", plan.PretrainSteps);
        // The network as it was: its own teacher where asked for, and what the smaller one is compared with.
        using Model original = model.Copy();
        using Teacher? itself = plan.TeachesItself ? Teacher.Of(model.Copy()) : null;
        if (itself is not null) job.Task = plan.Task(itself, input.Preprocessing);
        var comparison = new BeforeAfter(job, original, input.IsLabelled, plan.Output);
        job.Run();
        if (job.Removals.Count == 0 && plan.Method.Removes)
            throw new EspalierException($"{plan.Method.Name} removed nothing");
        if (plan.Output is not null) model.Save(plan.Output);
        planned = job.LastPlan is not null;
        if (plan.PlanFile is not null) job.LastPlan?.Save(plan.PlanFile);
        Comparison numbers = comparison.Measure(context.Burst);
        if (plan.Report is { } file)
        {
            CompressionReport report = CompressReport.Of(plan, job, input, numbers, context.Arguments);
            if (file.IsPage) report.SaveHtml(file.Path);
            else report.SaveJson(file.Path);
        }
        return CompressNumbers.Table(numbers, input.IsLabelled);
    }
}
