using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Imaging;

namespace Espalier.Cli.Running;

/// <summary>What --preprocess says, and what is told of the preprocessing that is used.</summary>
internal static class PreprocessChoice
{
    private const string Option = "--preprocess";

    /// <summary>What the user asks for, else the usual.</summary>
    /// <param name="asked">A preset's name or a file; null where the user says nothing.</param>
    /// <param name="usual">Null for a network that takes no pictures of 1 or 3 channels.</param>
    /// <exception cref="EspalierException">There is no such preset or file, or it does not make the network's input.</exception>
    public static Preprocessing Of(string? asked, int size, int channels, Preprocessing? usual)
    {
        if (channels is not (1 or 3))
            throw new EspalierException($"the network is for images of {channels} channels; images have 1 (grey) or 3 (RGB)");
        if (asked is null) return usual ?? Preprocessing.Half(size, channels);
        if (Preprocessing.Names.Contains(asked))
            return Preprocessing.Preset(asked, size, channels) with { Origin = $"{Option} {asked}" };
        if (!File.Exists(asked))
            throw new EspalierException(
                $"{Option} {asked}: is neither one of {string.Join(", ", Preprocessing.Names)} nor a file");
        return Preprocessing.Read(asked).RequireFor(size, channels, asked) with { Origin = $"{Option} {asked}" };
    }

    /// <inheritdoc cref="Of(string?, int, int, Preprocessing?)"/>
    public static Preprocessing Of(ParseResult parse, int size, int channels, Preprocessing? usual) =>
        Of(parse.GetValue(Shared.Preprocess), size, channels, usual);

    /// <summary>Says what images go through, and why.</summary>
    public static void Show(Terminal terminal, Preprocessing p) =>
        terminal.Line($"images      {p}{(p.Origin is { } origin ? $" ({origin})" : "")}");
}
