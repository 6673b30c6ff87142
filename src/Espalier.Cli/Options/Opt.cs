using System.CommandLine;
using System.CommandLine.Completions;
using System.Globalization;
using System.Numerics;
using Espalier.Models;

namespace Espalier.Cli.Options;

/// <summary>Makes options whose errors say what is allowed.</summary>
internal static class Opt
{
    /// <summary>A number from <paramref name="low"/> to <paramref name="high"/>; null where it is not given.</summary>
    public static Option<T?> Number<T>(string name, string description, T low, T high, string helpName = "N")
        where T : struct, INumber<T>, IMinMaxValue<T> => new(name)
        {
            Description = description,
            HelpName = helpName,
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                if (NumberText.Parse(text, low, high) is { } value) return value;
                result.AddError($"{name} must be {Kind<T>()}{Range(low, high)}, not '{text}'{NumberText.Hint(text, low, high)}");
                return null;
            },
        };

    /// <summary>One or more numbers with commas between, each once; empty where it is not given.</summary>
    public static Option<T[]> Numbers<T>(string name, string description, T low, T high, string helpName = "N,N")
        where T : struct, INumber<T>, IMinMaxValue<T> => new(name)
        {
            Description = description,
            HelpName = helpName,
            Arity = ArgumentArity.ExactlyOne,
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                T?[] values = [.. text.Split(',').Select(part => NumberText.Parse(part, low, high))];
                if (Array.TrueForAll(values, v => v is not null)) return [.. values.Select(v => v!.Value).Distinct()];
                result.AddError($"{name} must be {Kind<T>()}{Range(low, high)}, or several with commas between, not '{text}'"
                    + NumberText.Hint(text, low, high));
                return [];
            },
        };

    /// <summary>One or more of a few words, with commas between them; empty where it is not given.</summary>
    public static Option<string[]> Choices(string name, string description, params string[] words) => new(name)
    {
        CompletionSources = { Words(words) },
        Description = description,
        HelpName = string.Join(',', words),
        Arity = ArgumentArity.ExactlyOne,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            string?[] known = [.. text.Split(',').Select(part => Known(part, words))];
            if (!known.Contains(null)) return [.. known.Select(w => w!).Distinct()];
            result.AddError($"{name} must be one or more of {string.Join(", ", words)} with commas between, not '{text}'"
                + text.Split(',').Where(part => Known(part, words) is null).Select(part => Near.Hint(part, words)).First());
            return [];
        },
    };

    /// <summary>The parts of a text with commas between them; none where it is not given.</summary>
    public static string[] List(string? text) => text?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [];

    /// <summary>What is given, or else the usual values.</summary>
    public static T[] Or<T>(this T[]? given, params T[] usual) => given is { Length: > 0 } ? given : usual;

    /// <summary>One of a few words.</summary>
    public static Option<string?> Choice(string name, string description, params string[] words) => new(name)
    {
        CompletionSources = { Words(words) },
        Description = description,
        HelpName = string.Join('|', words),
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            string? known = Known(text, words);
            if (known is null)
                result.AddError($"{name} must be one of {string.Join(", ", words)}, not '{text}'{Near.Hint(text, words)}");
            return known;
        },
    };

    public static Option<string?> Text(string name, string description, string helpName, params string[] aliases) =>
        new(name, aliases) { Description = description, HelpName = helpName };

    /// <summary>--model-type, which takes others' names for the networks, too.</summary>
    public static Option<string?> Network(string description) => new("--model-type")
    {
        CompletionSources = { Words(PresetNames.All) }, Description = description, HelpName = "NAME",
        CustomParser = result => PresetNames.Canonical(result.Tokens[0].Value),
    };

    public static Option<bool> Flag(string name, string description) =>
        new(name) { Description = description, Arity = ArgumentArity.Zero };

    /// <summary>What a shell suggests.</summary>
    public static Func<CompletionContext, IEnumerable<CompletionItem>> Words(IEnumerable<string> words) =>
        _ => words.Select(w => new CompletionItem(w));

    private static string? Known(string text, string[] words) =>
        words.FirstOrDefault(w => w.Equals(text, StringComparison.OrdinalIgnoreCase));

    private static string Kind<T>()
        where T : INumber<T> => NumberText.IsWhole<T>() ? "a whole number" : "a number";

    private static string Range<T>(T low, T high) where T : struct, INumber<T>, IMinMaxValue<T>
    {
        if (low == T.MinValue && high == T.MaxValue) return "";
        string from = string.Create(CultureInfo.InvariantCulture, $"{low}");
        return high == T.MaxValue ? $" of at least {from}"
            : string.Create(CultureInfo.InvariantCulture, $" from {from} to {high}");
    }
}
