using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Distributed;

namespace Espalier.Cli.Running;

/// <summary>
/// A verb in the processes that mpirun has started: the first one speaks for all. Where one of them fails, all end, with one line;
/// else the others would wait for it for ever.
/// </summary>
internal static class Together
{
    /// <summary>What the first process gets to say what went wrong, where it is the same on all, and to end all.</summary>
    private static readonly TimeSpan Courtesy = TimeSpan.FromSeconds(10);

    /// <param name="verb">Is given no ranks where there is one process only.</param>
    /// <param name="program">Its name, for messages.</param>
    public static int Run(CommandContext context, ParseResult parse, Func<IRanks?, int> verb, string program = "espalier")
    {
        using MpiRanks? ranks = MpiRanks.Join();
        if (ranks is null) return verb(null);
        try
        {
            return verb(ranks);
        }
        catch (Exception e)
        {
            var (code, line) = Errors.Describe(e, context, parse);
            Terminal terminal = context.Terminal;
            if (ranks.Rank > 0)
            {
                Thread.Sleep(Courtesy);
                terminal = Terminal.OfProcess();
                line = $"process {ranks.Rank}: {line}";
            }
            terminal.ErrorLine($"{program}: {line}");
            if (parse.GetValue(Shared.Verbose)) terminal.ErrorLine(e.ToString());
            ranks.Abort(code);
            return code;
        }
    }

    /// <summary>What a process has to write to: only the first of several writes.</summary>
    public static Terminal Of(Terminal terminal) => MpiRanks.StartedAs == 0 ? terminal : terminal.Silent();

    /// <summary>Why a verb that works alone does not do it in several processes at once; null where it is alone.</summary>
    public static string? Refusal(ParseResult parse)
    {
        Command verb = parse.CommandResult.Command;
        return MpiRanks.Started == 1 || verb is Verb { RunsTogether: true } ? null
            : $"mpirun has started {MpiRanks.Started} processes, and {verb.Name} works in one only; start it without mpirun";
    }
}
