using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>What sections say alike of how their runs were trained, out of the options that these had.</summary>
internal static class Sentences
{
    /// <summary>"adamw at 0.0005, weight decay 0.05, cosine schedule".</summary>
    public static string Of(TrainOptions options)
    {
        bool momentum = options is { Optimizer: "sgd" or "nesterov", Momentum: > 0 };
        string name = options.Optimizer + (momentum ? FormattableString.Invariant($" with momentum {options.Momentum}") : "");
        return FormattableString.Invariant($"{name} at {options.LearningRate:0.########}, weight decay {options.WeightDecay}, ")
            + $"{options.Schedule} schedule";
    }

    /// <summary>What so many steps of a batch are worth, in words.</summary>
    public static string Length(long steps, int batch, int images)
    {
        double epochs = (double)steps * batch / images;
        string much = epochs < 3 ? "so short that the table compares ways and does not show what networks can reach"
            : "a short training";
        return FormattableString.Invariant($"{steps} steps of {batch} images are {epochs:0.00} epochs, {much}.");
    }

    /// <summary>Sentences with a space between; those that are null or empty are left out.</summary>
    public static string Join(params ReadOnlySpan<string?> sentences)
    {
        var said = new List<string>();
        foreach (string? s in sentences)
            if (!string.IsNullOrEmpty(s)) said.Add(s);
        return string.Join(' ', said);
    }
}
