using Espalier.Cli.Display;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>About how long a training takes here, from its multiply-adds and what the processor was just measured to do.</summary>
internal static class TrainingEstimate
{
    /// <summary>A backward pass costs about two forward passes; with agents there is a second pass, and their probes.</summary>
    private const double Passes = 3, WithAgents = 7;

    /// <summary>Of the peak of multiply-add units, what training reaches in practice.</summary>
    private const double Reached = 0.4;

    /// <summary>Below this many multiply-adds nobody has to be told, and nothing is measured.</summary>
    private const double WorthMeasuring = 1e15;

    private static readonly TimeSpan WorthSaying = TimeSpan.FromHours(3);

    /// <summary>A sentence where it is more than some hours; else null.</summary>
    /// <param name="multiplyAdds">Of one image, forward.</param>
    public static string? Of(double multiplyAdds, TrainOptions options, bool agents)
    {
        double all = multiplyAdds * (agents ? WithAgents : Passes) * options.BatchSize * options.Steps;
        if (all < WorthMeasuring) return null;
        double rate = Reached * 1e9 * PeakFma.Measure(Math.Min(Workers.Threads, Environment.ProcessorCount)) / 2;
        TimeSpan time = TimeSpan.FromSeconds(Math.Min(all / rate, TimeSpan.MaxValue.TotalSeconds / 2));
        return time < WorthSaying ? null : $"about {Format.Number(time.TotalHours, "#,##0")} hours here; a smaller network (--model-type "
            + "resnet20, espalier models), smaller images (--img-size) or fewer --epochs take less";
    }
}
