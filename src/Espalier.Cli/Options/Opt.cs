using System.CommandLine;
using System.Globalization;
using System.Numerics;

namespace Espalier.Cli.Options;

/// <summary>Makes options whose errors say what is allowed.</summary>
internal static class Opt
{
    /// <summary>A number from <paramref name="low"/> to <paramref name="high"/>; null where it is not given.</summary>
    public static Option<T?> Number<T>(string name, string description, T low, T high, string helpName = "N")
        where T : struct, INumber<T> => new(name)
        {
            Description = description,
            HelpName = helpName,
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                if (T.TryParse(text, CultureInfo.InvariantCulture, out T value) && value >= low && value <= high) return value;
                string kind = T.IsInteger(T.One / (T.One + T.One)) ? "a whole number" : "a number";
                result.AddError(string.Create(CultureInfo.InvariantCulture,
                    $"{name} must be {kind} {Range(low, high)}, not '{text}'"));
                return null;
            },
        };

    /// <summary>One of a few words.</summary>
    public static Option<string?> Choice(string name, string description, params string[] words) => new(name)
    {
        Description = description,
        HelpName = string.Join('|', words),
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            string? known = words.FirstOrDefault(w => w.Equals(text, StringComparison.OrdinalIgnoreCase));
            if (known is null) result.AddError($"{name} must be one of {string.Join(", ", words)}, not '{text}'");
            return known;
        },
    };

    public static Option<string?> Text(string name, string description, string helpName, params string[] aliases) =>
        new(name, aliases) { Description = description, HelpName = helpName };

    public static Option<bool> Flag(string name, string description) =>
        new(name) { Description = description, Arity = ArgumentArity.Zero };

    private static string Range<T>(T low, T high) where T : INumber<T>
    {
        string from = string.Create(CultureInfo.InvariantCulture, $"{low}");
        bool unbounded = high.Equals(T.CreateSaturating(long.MaxValue)) || high.Equals(T.CreateSaturating(int.MaxValue))
            || high.Equals(T.CreateSaturating(ulong.MaxValue)) || high.Equals(T.CreateSaturating(float.MaxValue));
        return unbounded ? $"of at least {from}" : string.Create(CultureInfo.InvariantCulture, $"from {from} to {high}");
    }
}
