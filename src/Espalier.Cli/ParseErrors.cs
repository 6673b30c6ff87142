using System.CommandLine;
using System.CommandLine.Parsing;

namespace Espalier.Cli;

/// <summary>Says in one line what is wrong with the arguments, and where help is.</summary>
internal static class ParseErrors
{
    /// <summary>Options of timm, torchvision's scripts and Hugging Face's trainer; a sentence where there is no such option.</summary>
    private static readonly Dictionary<string, string[]> Elsewhere = new()
    {
        ["--lr"] = ["--learning-rate"], ["--wd"] = ["--weight-decay"], ["--opt"] = ["--optimizer"], ["--sched"] = ["--decay-type"],
        ["--batch-size"] = ["--train-batch-size"], ["-b"] = ["--train-batch-size", "--batch-size"],
        ["--batch"] = ["--train-batch-size", "--batch-size"], ["--steps"] = ["--num-steps"], ["--max-steps"] = ["--num-steps"],
        ["--num-epochs"] = ["--epochs"], ["--num-train-epochs"] = ["--epochs"], ["--arch"] = ["--model-type"],
        ["--weights"] = ["--pretrained", "--model"], ["--checkpoint"] = ["--model", "--init"], ["--finetune"] = ["--pretrained"],
        ["--data-path"] = ["--data-dir"], ["--root"] = ["--data-dir"], ["--imgsz"] = ["--img-size"], ["--smoothing"] = ["--label-smoothing"],
        ["--freeze-backbone"] = ["--freeze"], ["--clip-grad"] = ["--max-grad-norm"], ["--model-ema"] = ["--ema"],
        ["--drop"] = ["--dropout"], ["--output"] = ["--output-dir"],
        ["--model"] = ["a network's name is --model-type here, a file to start from --init or --pretrained"],
        ["--device"] = ["there is the CPU only, by --threads"], ["--gpu"] = ["there is the CPU only, by --threads"],
        ["--amp"] = ["training is in float32"], ["--workers"] = ["pictures are read beside the training by themselves"],
        ["--num-classes"] = ["the classes are those of the data"],
    };

    /// <summary>Null where nothing is wrong.</summary>
    /// <param name="args">As they were parsed.</param>
    /// <param name="program">Its name, as a user would type it to see its help.</param>
    public static string? OneLine(ParseResult parse, IReadOnlyList<string> args, string program)
    {
        Command command = parse.CommandResult.Command;
        string help = $"see '{program} {string.Concat(Path(parse.CommandResult).Reverse())}--help'";
        if ((parse.UnmatchedTokens.Count > 0 ? parse.UnmatchedTokens[0] : Mistyped(parse, args)) is { } token)
        {
            bool option = token.StartsWith('-');
            string what = option ? "option" : command.Subcommands.Count > 0 ? "verb" : "argument";
            string where = command is RootCommand ? "" : $" for '{command.Name}'";
            IEnumerable<string> known = !option ? command.Subcommands.Select(c => c.Name)
                : command.Options.SelectMany(o => o.Aliases.Append(o.Name)).Where(n => n.StartsWith("--", StringComparison.Ordinal));
            return $"unknown {what} '{token}'{where}{Hint(token.Split('=')[0], [.. known])}; {help}";
        }
        if (parse.Errors.Count == 0) return null;
        if (command.Subcommands.Count > 0 && command.Action is null)
            return $"say what to do: {string.Join(", ", command.Subcommands.Select(c => c.Name))}; {help}";
        if (parse.CommandResult.Children.OfType<ArgumentResult>().FirstOrDefault(a => a.Tokens.Count == 0) is { } missing)
            return $"'{command.Name}' needs {missing.Argument.Name}: {missing.Argument.Description}; {help}";
        return $"{Errors.OneLine(parse.Errors[0].Message).TrimEnd('.')}; {help}";
    }

    /// <summary>What other tools call something is said by its name here; else the nearest name.</summary>
    private static string Hint(string token, string[] known)
    {
        if (Elsewhere.GetValueOrDefault(token) is not { } names) return Near.Hint(token, known);
        return names.FirstOrDefault(known.Contains) is { } here ? $" (it is {here} here)"
            : names.FirstOrDefault(n => !n.StartsWith('-')) is { } why ? $" ({why})" : Near.Hint(token, known);
    }

    /// <summary>
    /// What begins like an option and was taken for a file or a name, as by verbs that take any number of files; unless it
    /// stands behind --, which says that no options follow.
    /// </summary>
    private static string? Mistyped(ParseResult parse, IReadOnlyList<string> args)
    {
        int end = args.TakeWhile(a => a != "--").Count();
        return parse.CommandResult.Children.OfType<ArgumentResult>().SelectMany(a => a.Tokens).Select(t => t.Value)
            .FirstOrDefault(t => t.Length > 1 && t[0] == '-' && args.Take(end).Contains(t));
    }

    private static IEnumerable<string> Path(CommandResult result)
    {
        for (SymbolResult? r = result; r is CommandResult { Command: not RootCommand } c; r = r.Parent)
            yield return c.Command.Name + " ";
    }
}
