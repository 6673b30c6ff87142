using System.Globalization;
using Espalier.Training;

namespace Espalier.Cli.Display;

/// <summary>The numbers of a run as it goes on, smoothed where a single step says little.</summary>
internal sealed class TrainingStatus
{
    private readonly RecentMean loss = new(), stepSeconds = new();
    private StepInfo? last;
    private int steps;
    private double? accuracy;

    public void Add(StepInfo info)
    {
        // The first step of a process also compiles code and takes memory from the system, which can double its time: it
        // counts until there is another one.
        if (++steps == 2) stepSeconds.Clear();
        last = info;
        if (info.Scalars.TryGetValue("loss", out double value)) loss.Add(value);
        stepSeconds.Add(info.Duration.TotalSeconds);
    }

    public void Add(EvaluationResult result)
    {
        if (result.Scalars.TryGetValue("accuracy", out double value)) accuracy = value;
    }

    /// <summary>Loss, last accuracy, tokens left, images a second and the time that is left.</summary>
    public override string ToString()
    {
        if (last is null) return "";
        var parts = new List<string>();
        if (loss.Value is { } l) parts.Add("loss " + Format.Number(l, "0.0000"));
        if (accuracy is { } a) parts.Add("accuracy " + Format.Percent(a));
        double[] tokens = Tokens(last.Scalars);
        if (tokens.Length > 0) parts.Add("tokens " + Format.Tokens(tokens));
        if (last.Scalars.TryGetValue("compute", out double share)) parts.Add("compute " + Format.Share(share));
        if (stepSeconds.Value is { } s and > 0)
        {
            parts.Add(Format.Rate(last.Images / s) + " images/s");
            parts.Add(Format.Duration(TimeSpan.FromSeconds(s * (last.TotalSteps - last.Step))) + " left");
        }
        return string.Join(", ", parts);
    }

    /// <summary>The scalars "tokens/0", "tokens/1" and so on, in order.</summary>
    public static double[] Tokens(IReadOnlyDictionary<string, double> scalars)
    {
        var tokens = new List<double>();
        while (scalars.TryGetValue("tokens/" + tokens.Count.ToString(CultureInfo.InvariantCulture), out double value))
            tokens.Add(value);
        return [.. tokens];
    }

    /// <summary>One line about an evaluation.</summary>
    public static string Line(long step, EvaluationResult result, IReadOnlyList<string> newBest)
    {
        var parts = new List<string> { $"step {step}:" };
        foreach (var (name, value) in result.Scalars)
        {
            if (name.StartsWith("tokens/", StringComparison.Ordinal) || name == "images_per_second") continue;
            bool share = name.StartsWith("accuracy", StringComparison.Ordinal) || name == "compute";
            parts.Add($"{name.Replace('_', ' ')} {(share ? Format.Percent(value) : Format.Number(value, "0.0000"))},");
        }
        double[] tokens = Tokens(result.Scalars);
        if (tokens.Length > 0) parts.Add($"tokens {Format.Tokens(tokens)},");
        if (newBest.Count > 0) parts.Add($"best {string.Join(" and ", newBest)} so far");
        return string.Join(' ', parts).TrimEnd(',');
    }

    /// <summary>A mean in which each value weighs 0.95 times what the next one weighs.</summary>
    private sealed class RecentMean
    {
        private const double Smoothing = 0.95;
        private double sum, weight;

        public double? Value => weight > 0 ? sum / weight : null;

        public void Add(double value) => (sum, weight) = (Smoothing * sum + value, Smoothing * weight + 1);

        public void Clear() => (sum, weight) = (0, 0);
    }
}
