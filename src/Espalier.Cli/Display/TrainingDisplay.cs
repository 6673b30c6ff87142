using System.Diagnostics;
using Espalier.Training;
using Spectre.Console;

namespace Espalier.Cli.Display;

/// <summary>Shows a training run: a live bar on a terminal, a line now and then elsewhere.</summary>
internal static class TrainingDisplay
{
    /// <summary>Shows the progress of <paramref name="run"/>, which trains once or several times.</summary>
    /// <param name="what">Name of the run.</param>
    public static T Run<T>(Terminal terminal, string what, Func<ITrainingProgress, T> run)
    {
        if (!terminal.Interactive) return run(new Lines(terminal, what));
        return terminal.Console.Progress().AutoClear(true)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn { Width = 24 },
                new PercentageColumn())
            .Start(context => run(new Bar(terminal, context.AddTask(Markup.Escape(what)), what)));
    }

    private sealed class Lines(Terminal terminal, string what) : ITrainingProgress
    {
        private readonly TrainingStatus status = new();
        private long last;

        public void Step(StepInfo info)
        {
            status.Add(info);
            bool due = last == 0 || info.Step == info.TotalSteps || Stopwatch.GetElapsedTime(last) >= Watch.LineEvery;
            if (!due) return;
            last = Stopwatch.GetTimestamp();
            terminal.Line($"{what}: step {info.Step} of {info.TotalSteps}, {status}");
        }

        public void Evaluating(long step, int batch, int batches)
        {
            if (last != 0 && Stopwatch.GetElapsedTime(last) < Watch.LineEvery) return;
            last = Stopwatch.GetTimestamp();
            terminal.Line($"{what}: evaluating, batch {batch} of {batches}");
        }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest)
        {
            status.Add(result);
            terminal.Line($"{what}: {TrainingStatus.Line(step, result, newBest)}");
        }

        public void Message(string text) => terminal.Line(text);
    }

    private sealed class Bar(Terminal terminal, ProgressTask bar, string what) : ITrainingProgress
    {
        private readonly TrainingStatus status = new();

        public void Step(StepInfo info)
        {
            status.Add(info);
            bar.MaxValue = info.TotalSteps;
            bar.Value = info.Step;
            Describe($"{info.Step}/{info.TotalSteps} {status}");
        }

        public void Evaluating(long step, int batch, int batches) => Describe($"{step} evaluating {batch}/{batches}");

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest)
        {
            status.Add(result);
            terminal.Console.MarkupLineInterpolated($"{what}: {TrainingStatus.Line(step, result, newBest)}");
        }

        public void Message(string text) => terminal.Console.MarkupLineInterpolated($"{Terminal.Clean(text)}");

        private void Describe(string text) => bar.Description = Markup.Escape(Terminal.Clean($"{what} {text}"));
    }
}
