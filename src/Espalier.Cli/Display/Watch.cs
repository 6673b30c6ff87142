using System.Diagnostics;
using Spectre.Console;

namespace Espalier.Cli.Display;

/// <summary>Shows how far a long piece of work is: a bar on a terminal, a line every ten seconds elsewhere.</summary>
internal static class Watch
{
    public static readonly TimeSpan LineEvery = TimeSpan.FromSeconds(10);

    /// <param name="total">Units of work.</param>
    /// <param name="work">Calls its argument with the units done.</param>
    public static T Run<T>(Terminal terminal, string what, double total, Func<Action<double>, T> work)
    {
        if (!terminal.Interactive)
        {
            long last = Stopwatch.GetTimestamp();
            return work(done =>
            {
                if (Stopwatch.GetElapsedTime(last) < LineEvery) return;
                last = Stopwatch.GetTimestamp();
                terminal.Line($"{what}: {Format.Share(done / Math.Max(total, 1))}");
            });
        }
        return terminal.Console.Progress().AutoClear(true).HideCompleted(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn())
            .Start(context =>
            {
                ProgressTask bar = context.AddTask(Markup.Escape(Terminal.Clean(what)), maxValue: Math.Max(total, 1));
                return work(done => bar.Value = done);
            });
    }
}
