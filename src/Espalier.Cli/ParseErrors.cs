using System.CommandLine;
using System.CommandLine.Parsing;

namespace Espalier.Cli;

/// <summary>Says in one line what is wrong with the arguments, and where help is.</summary>
internal static class ParseErrors
{
    /// <param name="program">Its name, as a user would type it to see its help.</param>
    public static string OneLine(ParseResult parse, string program)
    {
        Command command = parse.CommandResult.Command;
        string help = $"see '{program} {string.Concat(Path(parse.CommandResult).Reverse())}--help'";
        if (parse.UnmatchedTokens.Count > 0)
        {
            string token = parse.UnmatchedTokens[0];
            bool option = token.StartsWith('-');
            string what = option ? "option" : command.Subcommands.Count > 0 ? "verb" : "argument";
            string where = command is RootCommand ? "" : $" for '{command.Name}'";
            return $"unknown {what} '{token}'{where}{Suggestion(token, command, option)}; {help}";
        }
        if (command.Subcommands.Count > 0 && command.Action is null)
            return $"say what to do: {string.Join(", ", command.Subcommands.Select(c => c.Name))}; {help}";
        if (parse.CommandResult.Children.OfType<ArgumentResult>().FirstOrDefault(a => a.Tokens.Count == 0) is { } missing)
            return $"'{command.Name}' needs {missing.Argument.Name}: {missing.Argument.Description}; {help}";
        return $"{Errors.OneLine(parse.Errors[0].Message).TrimEnd('.')}; {help}";
    }

    private static IEnumerable<string> Path(CommandResult result)
    {
        for (SymbolResult? r = result; r is CommandResult { Command: not RootCommand } c; r = r.Parent)
            yield return c.Command.Name + " ";
    }

    private static string Suggestion(string token, Command command, bool option)
    {
        IEnumerable<string> known = option
            ? command.Options.SelectMany(o => o.Aliases.Append(o.Name)).Where(n => n.StartsWith("--", StringComparison.Ordinal))
            : command.Subcommands.Select(c => c.Name);
        string? best = known.MinBy(n => Distance(token, n));
        return best is not null && Distance(token, best) <= Math.Max(1, token.Length / 4) ? $" (do you mean '{best}'?)" : "";
    }

    /// <summary>Levenshtein's: letters to insert, delete or replace.</summary>
    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(replaced, 1 + Math.Min(row[j], row[j - 1]));
            }
        }
        return row[^1];
    }
}
