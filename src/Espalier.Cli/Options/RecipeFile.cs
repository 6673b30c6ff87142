using System.CommandLine;
using System.Text.Json;
using System.Text.RegularExpressions;
using Espalier.Formats;

namespace Espalier.Cli.Options;

/// <summary>
/// A run's options as a file: <c>{"verb":"train","model-type":"resnet20","num-steps":4690}</c>, under the names that they have on
/// the command line, or the same in YAML. Such a file is read as if its options stood there, so that every option, and every check of
/// it, is the same.
/// </summary>
internal static partial class RecipeFile
{
    private const string VerbName = "verb";
    private const int MostBytes = 1 << 20;

    /// <summary>How a run goes on, and what is shown of it, make no other result.</summary>
    private static readonly HashSet<string> Passing = ["--recipe", "--resume", "--overwrite", "--verbose"];

    /// <summary>Options that say the same in two ways: one on the command line replaces the other in the file.</summary>
    private static readonly string[][] Alternatives = [["--num-steps", "--epochs"], ["--init", "--pretrained"],
        ["--no-augment", "--augment"]];

    public static Option<string?> Flag { get; } = Opt.Text("--recipe",
        "Take options from a file such as every run writes beside its result; those given besides count more", "FILE");

    /// <summary>The arguments with the options of the recipe that they name, but for those that they give themselves.</summary>
    /// <exception cref="EspalierException">The file cannot be read, is for another verb, or has an option that the verb has not.
    /// </exception>
    public static string[] Expanded(RootCommand root, string[] args)
    {
        ParseResult parse = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        Command verb = parse.CommandResult.Command;
        if (!verb.Options.Contains(Flag)) return args;
        if ((parse.GetResult(Flag) is { Tokens: [var named] } ? named.Value : ResumedRun.Recipe(parse)) is not { } file)
            return args;
        HashSet<string> given = [.. Known(root, verb).Where(o => IsGiven(parse, o)).Select(o => o.Name)];
        foreach (string[] pair in Alternatives) if (pair.Any(given.Contains)) given.UnionWith(pair);
        var more = new List<string>();
        foreach (JsonProperty property in Read(file))
        {
            string key = property.Name.Replace('_', '-'), name = "--" + key;
            if (key == VerbName)
            {
                if (property.Value.ToString() != verb.Name)
                    throw new EspalierException($"{file}: is a recipe of '{property.Value}', not of '{verb.Name}'");
            }
            else if (Known(root, verb).FirstOrDefault(o => o.Name == name || o.Aliases.Contains(name)) is { } option)
            {
                if (!given.Contains(option.Name)) more.AddRange(Words(option.Name, property.Value, file));
            }
            else if (verb.Arguments.FirstOrDefault(a => a.Name == key) is { } argument)
            {
                if (parse.GetResult(argument) is not { Tokens.Count: > 0 }) more.Add(property.Value.ToString());
            }
            else
            {
                IEnumerable<string> names = Known(root, verb).Select(o => o.Name[2..]);
                throw new EspalierException($"{file}: '{verb.Name}' has no option '{key}'{Near.Hint(key, names)}");
            }
        }
        int at = Array.IndexOf(args, verb.Name) + 1;
        return [.. args[..at], .. more, .. args[at..]];
    }

    /// <summary>Writes what a command line was, recipes that it named included.</summary>
    public static void Write(string path, ParseResult parse)
    {
        Command verb = parse.CommandResult.Command;
        AtomicFile.Write(path, stream =>
        {
            using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
            json.WriteStartObject();
            json.WriteString(VerbName, verb.Name);
            foreach (Argument argument in verb.Arguments)
                if (parse.GetResult(argument) is { Tokens: [var word] }) json.WriteString(argument.Name, word.Value);
            foreach (Option option in Known((RootCommand)parse.RootCommandResult.Command, verb))
            {
                if (Passing.Contains(option.Name) || !IsGiven(parse, option)) continue;
                json.WritePropertyName(option.Name[2..]);
                if (parse.GetResult(option) is not { Tokens: [var value] }) json.WriteBooleanValue(true);
                else if (Number().IsMatch(value.Value)) json.WriteRawValue(value.Value);
                else json.WriteStringValue(value.Value);
            }
            json.WriteEndObject();
        });
    }

    /// <summary>What would be typed to do the same.</summary>
    /// <exception cref="EspalierException">It is no recipe.</exception>
    public static string CommandLine(string path)
    {
        JsonProperty[] all = Read(path);
        IEnumerable<string> words = all.Where(p => p.Name != VerbName).SelectMany(p => Words("--" + p.Name, p.Value, path));
        return string.Join(' ', [.. all.Where(p => p.Name == VerbName).Select(p => $"espalier {p.Value}"),
            .. words.Select(w => w.Contains(' ', StringComparison.Ordinal) ? $"\"{w}\"" : w)]);
    }

    private static IEnumerable<Option> Known(RootCommand root, Command verb) =>
        verb.Options.Concat(root.Options.Where(o => o.Recursive)).Where(o => o.Name.StartsWith("--", StringComparison.Ordinal));

    private static bool IsGiven(ParseResult parse, Option option) => parse.GetResult(option) is { Implicit: false };

    internal static JsonProperty[] Read(string path)
    {
        byte[] text = SmallFile.Read(path, MostBytes, "a recipe");
        if (YamlRecipe.Is(path)) text = YamlRecipe.ToJson(text, path);
        try
        {
            JsonElement recipe = JsonDocument.Parse(text,
                new JsonDocumentOptions { AllowDuplicateProperties = false }).RootElement;
            return recipe.ValueKind == JsonValueKind.Object ? [.. recipe.EnumerateObject()]
                : throw new EspalierException($"{path}: a recipe is a JSON object, {{ ... }}");
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e))
        {
            throw new EspalierException($"{path}: not a recipe: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    private static string[] Words(string option, JsonElement value, string path) => value.ValueKind switch
    {
        JsonValueKind.String or JsonValueKind.Number => [$"{option}={value}"],
        JsonValueKind.True => [option],
        JsonValueKind.False or JsonValueKind.Null => [],
        _ => throw new EspalierException($"{path}: {option[2..]} is a text, a number, true or false"),
    };

    /// <summary>What JSON and the command line write alike.</summary>
    [GeneratedRegex(@"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\z")]
    internal static partial Regex Number();
}
