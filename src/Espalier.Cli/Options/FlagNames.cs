using System.CommandLine;
using System.Text.RegularExpressions;
using Espalier.Compression;

namespace Espalier.Cli.Options;

/// <summary>The library's errors name properties; whoever typed a command knows their flags.</summary>
internal static partial class FlagNames
{
    /// <summary>Does the work of `compress`; in its errors TrainSteps becomes --train-steps, PerRound --set per-round.</summary>
    public static void In(CompressionMethod method, Action work)
    {
        try
        {
            work();
        }
        catch (EspalierException e)
        {
            Dictionary<string, string> flags = method.Settings.ToDictionary(s => s.Property, s => $"{CompressFlags.Set.Name} {s.Name}");
            foreach (Option option in CompressFlags.All) flags.TryAdd(Property(option.Name), option.Name);
            throw new EspalierException(Name().Replace(e.Message, m => flags.GetValueOrDefault(m.Value, m.Value)), e.InnerException);
        }
    }

    /// <summary>"TrainSteps" for "--train-steps".</summary>
    private static string Property(string flag) =>
        string.Concat(flag.Split('-', StringSplitOptions.RemoveEmptyEntries).Select(word => char.ToUpperInvariant(word[0]) + word[1..]));

    /// <summary>A word that may be a property, but no part of a file's name.</summary>
    [GeneratedRegex(@"(?<![\w/\\.'-])[A-Z]\w*(?![\w/\\]|[.-]\w)")]
    private static partial Regex Name();
}
