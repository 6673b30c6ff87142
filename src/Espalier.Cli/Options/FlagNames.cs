using System.CommandLine;
using System.Text.RegularExpressions;
using Espalier.Compression;
using Espalier.Training;

namespace Espalier.Cli.Options;

/// <summary>The library's errors name properties; whoever typed a command knows their flags.</summary>
internal static partial class FlagNames
{
    /// <summary>Does a verb's work; in its errors TrainSteps becomes --train-steps, and PerRound --set per-round.</summary>
    /// <param name="parse">Of the verb's command line.</param>
    public static int In(ParseResult parse, IEnumerable<MethodSetting> settings, Func<int> work)
    {
        try
        {
            return work();
        }
        catch (EspalierException e)
        {
            throw Of(parse, settings, e);
        }
    }

    /// <summary>The error with flags in the place of properties.</summary>
    public static EspalierException Of(ParseResult parse, IEnumerable<MethodSetting> settings, EspalierException e)
    {
        Dictionary<string, string> flags = settings.ToDictionary(s => s.Property, s => $"{CompressFlags.Set.Name} {s.Name}");
        foreach (Option option in parse.CommandResult.Command.Options) flags.TryAdd(Property(option.Name), option.Name);
        foreach (var (property, flag) in Others)
            if (flags.ContainsValue(flag)) flags.TryAdd(property, flag);
        flags.TryAdd(nameof(OpenOptions.Architecture), Shared.ModelType.Name);
        flags.TryAdd(nameof(OpenOptions.ImageSize), Shared.ImageSize.Name);
        string message = Name().Replace(e.Message, m => flags.GetValueOrDefault(m.Value, m.Value));
        return e.InnerException is { } inner ? new EspalierException(message, inner) : new EspalierException(message);
    }

    /// <summary>Flags with the names of APT's script.</summary>
    private static readonly (string Property, string Flag)[] Others =
    [
        (nameof(TrainOptions.Steps), "--num-steps"), (nameof(TrainOptions.BatchSize), "--train-batch-size"),
        (nameof(TrainOptions.Schedule), "--decay-type"), (nameof(TrainOptions.EmaDecay), "--ema"),
    ];

    /// <summary>"TrainSteps" for "--train-steps".</summary>
    private static string Property(string flag) =>
        string.Concat(flag.Split('-', StringSplitOptions.RemoveEmptyEntries).Select(w => char.ToUpperInvariant(w[0]) + w[1..]));

    /// <summary>A word that may be a property, but no part of a file's name.</summary>
    [GeneratedRegex(@"(?<![\w/\\.'-])[A-Z]\w*(?![\w/\\]|[.-]\w)")]
    private static partial Regex Name();
}
