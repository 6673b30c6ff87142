using System.CommandLine;
using System.CommandLine.Help;
using Espalier.Cli.Options;
using Espalier.Cli.Verbs;
using Espalier.Tensors.Threading;

namespace Espalier.Cli;

/// <summary>
/// The command `espalier`: parses the arguments, runs the verb, and turns what goes wrong into one line and a code.
/// </summary>
internal static class CommandLine
{
    public static int Run(string[] args, Session session)
    {
        TextWriter error = session.Terminal.Error;
        bool verbose = args.Contains("--verbose");
        try
        {
            session.Arguments = args;
            RootCommand root = Build(session);
            ParseResult parse = root.Parse(WithDashes(args), new ParserConfiguration { ResponseFileTokenReplacer = null });
            if (parse.Errors.Count > 0)
            {
                error.WriteLine($"espalier: {ParseErrors.OneLine(parse)}");
                return ExitCodes.WrongInput;
            }
            if (parse.GetValue(Shared.Threads) is { } threads) Workers.Threads = threads;
            return parse.Invoke(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
                Output = session.Terminal.Out,
                Error = error,
            });
        }
        catch (OperationCanceledException) when (session.Cancel.IsCancellationRequested)
        {
            error.WriteLine("espalier: interrupted");
            return session.ExitCode;
        }
        catch (Exception e)
        {
            var (code, line) = Errors.Describe(e);
            error.WriteLine($"espalier: {line}");
            if (verbose) error.WriteLine(e);
            return code;
        }
    }

    internal static RootCommand Build(Session session)
    {
        var root = new RootCommand("Trains, prunes and runs vision transformers that drop worthless tokens, and convolutional networks.")
        {
            Shared.Threads,
            Shared.Verbose,
            DemoVerb.Create(session),
            TrainVerb.Create(session),
            InferVerb.Create(session),
            PredictVerb.Create(session),
            ProfileVerb.Create(session),
            BenchVerb.Create(session),
            KernelsVerb.Create(session),
            ExportVerb.Create(session),
            DataVerb.Create(session),
            ReportVerb.Create(session),
            CompressVerb.Create(session),
            ReproduceVerb.Create(session),
        };
        foreach (Option option in root.Options)
        {
            if (option is HelpOption { Action: HelpAction help }) option.Action = new HelpWithExample(help);
            if (option is VersionOption) option.Action = new VersionAction();
        }
        return root;
    }

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
