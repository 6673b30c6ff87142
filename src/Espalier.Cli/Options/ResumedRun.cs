using System.CommandLine;
using Espalier.Training;

namespace Espalier.Cli.Options;

/// <summary>The options of a run that goes on are those that it began with: its recipe lies beside its state.</summary>
internal static class ResumedRun
{
    /// <summary>Name of the recipe of `compress` in its folder of states.</summary>
    private const string OfCompress = "compress.recipe.json";

    /// <summary>Where `compress` keeps the options of a run; null where it keeps no state.</summary>
    public static string? CompressRecipe(string? folder) => folder is null ? null : Path.Combine(folder, OfCompress);

    /// <summary>The recipe of the run that --resume means; null without --resume, or where there is none.</summary>
    /// <exception cref="EspalierException">There are several runs, and none is named; or there is none, and nothing says what to begin.
    /// </exception>
    public static string? Recipe(ParseResult parse)
    {
        Command verb = parse.CommandResult.Command;
        if (!verb.Options.Contains(Shared.Resume) || !parse.GetValue(Shared.Resume)) return null;
        Option? output = verb.Options.FirstOrDefault(o => o.Name == "--output-dir");
        string? folder = output is null ? null : parse.GetResult(output) is { Tokens: [var given] } ? given.Value : null;
        if (verb.Options.FirstOrDefault(o => o.Name == "--name") is not { } nameOption) return Existing(CompressRecipe(folder));
        folder ??= TrainFlags.UsualFolder;
        bool isBare = verb.Options.All(o => o == Shared.Resume || o == output || o == nameOption
            || parse.GetResult(o) is null or { Implicit: true });
        if (parse.GetResult(nameOption) is { Tokens: [var name] })
        {
            if (isBare && !File.Exists(new RunFolder(folder, name.Value).State)) throw NoRun($"the run {name.Value}");
            return OfRun(folder, name.Value);
        }
        string[] runs = Directory.Exists(folder)
            ? [.. Directory.GetFiles(folder, "*.state").Select(f => Path.GetFileNameWithoutExtension(f)!).Order(StringComparer.Ordinal)] : [];
        if (runs.Length == 0 && isBare) throw NoRun("a run");
        if (runs.Length == 0) return null;
        if (runs.Length == 1) return OfRun(folder, runs[0]);
        if (isBare)
            throw new EspalierException($"{folder}: has the states of {runs.Length} runs ({string.Join(", ", runs.Take(5))}); say which one "
                + "goes on with --name NAME");
        return null;

        EspalierException NoRun(string what) => new($"{folder}: has no state of {what} to go on with; say what to train, without --resume");
    }

    private static string? OfRun(string folder, string name) =>
        new RunFolder(folder, name) is var files && File.Exists(files.State) ? Existing(files.Recipe) : null;

    private static string? Existing(string? file) => File.Exists(file) ? file : null;
}
