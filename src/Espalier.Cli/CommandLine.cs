using System.CommandLine;
using System.CommandLine.Help;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Cli.Verbs;
using Espalier.Tensors.Threading;

namespace Espalier.Cli;

/// <summary>
/// The command `espalier`: parses the arguments, runs the verb, and turns what goes wrong into one line and a code.
/// </summary>
internal static class CommandLine
{
    public static int Run(string[] args, CommandContext context) => Run("espalier", Build, args, context);

    /// <summary>The same for another program whose commands are verbs like these.</summary>
    /// <param name="program">Its name, for messages.</param>
    public static int Run(string program, Func<CommandContext, RootCommand> build, string[] args, CommandContext context)
    {
        Terminal terminal = Together.Of(context.Terminal);
        context = context with { Terminal = terminal };
        bool verbose = args.Contains("--verbose");
        ParseResult? parse = null;
        try
        {
            context.Arguments = args;
            if (args.Length == 0) args = ["--help"];
            RootCommand root = build(context);
            string[] dashed = RecipeFile.Expanded(root, WithDashes(args));
            parse = root.Parse(dashed, new ParserConfiguration { ResponseFileTokenReplacer = null });
            if (!Completes(args) && (ParseErrors.OneLine(parse, dashed, program) ?? Together.Refusal(parse)) is { } wrong)
            {
                terminal.ErrorLine($"{program}: {wrong}");
                return ExitCodes.WrongInput;
            }
            if (parse.GetValue(Shared.Threads) is { } threads) Workers.Threads = threads;
            using Pipes? pipes = Pipes.Of(parse, dashed, context);
            if (pipes is not null)
            {
                if (pipes.Writes)
                    context = context with { Terminal = terminal with { Out = terminal.Error, Interactive = false } };
                parse = build(context).Parse(pipes.Arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
            }
            int code = parse.Invoke(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
                Output = context.Terminal.Out,
                Error = terminal.Error,
            });
            if (code == ExitCodes.Done) pipes?.Flush(context);
            return code;
        }
        catch (Exception e)
        {
            var (code, line) = Errors.Describe(e, context, parse);
            terminal.ErrorLine($"{program}: {line}");
            if (verbose) terminal.ErrorLine(e.ToString());
            return code;
        }
        finally
        {
            context.NameSkipped();
        }
    }

    internal static RootCommand Build(CommandContext context) => Root(
        "Trains, prunes and runs vision transformers that drop worthless tokens, and convolutional networks.",
        ["espalier demo", "espalier train --data fashion-mnist --model-type vit-small-28 --num-steps 2000"],
        [
            DemoVerb.Create(context),
            TrainVerb.Create(context),
            InferVerb.Create(context),
            PredictVerb.Create(context),
            ProfileVerb.Create(context),
            BenchVerb.Create(context),
            KernelsVerb.Create(context),
            ExportVerb.Create(context),
            DataVerb.Create(context),
            ReportVerb.Create(context),
            CompressVerb.Create(context),
            QuantizeVerb.Create(context),
            ClipVerb.Create(context),
            EmbedVerb.Create(context),
            ModelsVerb.Create(context),
            ServeVerb.Create(context),
        ]);

    /// <summary>Verbs under the options that all have, with the help and the version of this program.</summary>
    public static RootCommand Root(string description, IReadOnlyList<string> examples, IEnumerable<Command> verbs)
    {
        var root = new RootCommand(description) { Shared.Threads, Shared.Verbose };
        foreach (Command verb in verbs) root.Subcommands.Add(verb);
        foreach (Option option in root.Options)
        {
            if (option is HelpOption { Action: HelpAction help }) option.Action = new HelpWithExample(help, examples);
            if (option is VersionOption) option.Action = new VersionAction();
        }
        return root;
    }

    /// <summary>Whether a shell asks what may come next: <c>"[suggest:14]" "espalier train "</c>.</summary>
    private static bool Completes(string[] args) => args is [var first, ..] && first.StartsWith("[suggest", StringComparison.Ordinal);

    /// <summary>
    /// Option names with the underscores that APT's original script uses become those with dashes: --num_steps is --num-steps.
    /// </summary>
    private static string[] WithDashes(string[] args)
    {
        int end = Array.IndexOf(args, "--");
        return [.. args.Select((arg, i) =>
        {
            if (!arg.StartsWith("--", StringComparison.Ordinal) || (end >= 0 && i >= end)) return arg;
            int value = arg.IndexOf('=', StringComparison.Ordinal);
            return value < 0 ? arg.Replace('_', '-') : arg[..value].Replace('_', '-') + arg[value..];
        })];
    }
}
