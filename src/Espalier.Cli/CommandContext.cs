using Espalier.Cli.Display;
using Espalier.Data;

namespace Espalier.Cli;

/// <summary>What a verb needs of the world around it.</summary>
/// <param name="Cancel">Set by the first Ctrl-C.</param>
internal sealed record CommandContext(Terminal Terminal, CancellationToken Cancel, Interrupt? Interrupt = null)
{
    /// <summary>What the process ends with after an interruption.</summary>
    public int ExitCode => Interrupt?.ExitCode ?? ExitCodes.Interrupted;

    /// <summary>The arguments as they were given, for messages that repeat them.</summary>
    public IReadOnlyList<string> Arguments { get; set; } = [];

    /// <summary>What <c>-</c> in the place of a file reads.</summary>
    public Func<Stream> StandardInput { get; init; } = () => Console.IsInputRedirected ? Console.OpenStandardInput()
        : throw new EspalierException("standard input is a terminal; send a file there, as in 'espalier ... --model - < FILE'");

    /// <summary>What <c>-</c> in the place of a file writes.</summary>
    public Func<Stream> StandardOutput { get; init; } = Console.OpenStandardOutput;

    /// <summary>How long each of two networks is timed before it is the other's turn, where they are compared.</summary>
    public TimeSpan Burst { get; init; } = TimeSpan.FromSeconds(0.3);

    private const int MostNamed = 20;
    private readonly List<SkippedFiles> skipped = [];

    /// <summary>A data set whose files that could not be used are named when the verb ends.</summary>
    public DatasetPair Opened(DatasetPair data)
    {
        Opened(data.Skipped);
        return data;
    }

    /// <summary>The same for files that belong to no data set.</summary>
    public void Opened(SkippedFiles files) => skipped.Add(files);

    /// <summary>Says what was left out of the data sets, where anything was.</summary>
    public void NameSkipped()
    {
        foreach (string line in SkippedList.Lines([.. skipped.SelectMany(s => s.Files)], MostNamed))
            Terminal.ErrorLine(line);
    }
}
