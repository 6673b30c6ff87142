using System.Buffers;
using Espalier.Distributed;
using Spectre.Console;

namespace Espalier.Cli;

/// <summary>Where a verb writes.</summary>
/// <param name="Interactive">A person watches: bars may move. False for files and pipes, which get plain lines.</param>
/// <param name="Width">Columns.</param>
internal sealed record Terminal(TextWriter Out, TextWriter Error, bool Interactive, int Width)
{
    private const int PlainWidth = 120;

    /// <summary>Of tables in files and pipes, where nothing is gained by cutting them.</summary>
    private const int PlainTableWidth = 500;

    /// <summary>Plain ASCII, which needs no second look.</summary>
    private static readonly SearchValues<char> Harmless = SearchValues.Create([.. Enumerable.Range(' ', '~' - ' ' + 1).Select(c => (char)c)]);

    private IAnsiConsole? console;

    /// <summary>Tables and bars. Colours where the terminal has them and NO_COLOR is not set.</summary>
    public IAnsiConsole Console => console ??= CreateConsole();

    public static Terminal OfProcess()
    {
        UseUtf8OnWindows();
        // What mpirun shows as a terminal is its own pipe.
        bool interactive = !System.Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb"
            && MpiRanks.Started == 1;
        int width = PlainWidth;
        try
        {
            if (interactive && System.Console.WindowWidth > 0) width = System.Console.WindowWidth;
        }
        catch (IOException)
        {
            // A terminal that does not tell its size.
        }
        return new Terminal(System.Console.Out, System.Console.Error, interactive, width);
    }

    /// <summary>Where progress goes while standard output is for what a program reads: bars of a terminal stay, lines go to standard
    /// error.</summary>
    public Terminal BesideData() => Interactive ? this : this with { Out = Error };

    /// <summary>The same, where another process speaks: nothing is written.</summary>
    public Terminal Silent() => new(TextWriter.Null, TextWriter.Null, Interactive: false, PlainWidth);

    /// <summary>Its consoles begin with an old code page, which has no letters for pictures and class names.</summary>
    private static void UseUtf8OnWindows()
    {
        if (!OperatingSystem.IsWindows()) return;
        try
        {
            System.Console.OutputEncoding = System.Text.Encoding.UTF8;
        }
        catch (IOException)
        {
            // No console at all.
        }
    }

    /// <summary>A line whose words may come from files: what would steer the terminal is shown as a question mark.</summary>
    public void Line(string text = "") => Out.WriteLine(Clean(text));

    /// <summary>The same on standard error.</summary>
    public void ErrorLine(string text) => Error.WriteLine(Clean(text));

    /// <summary>A line of JSON: what would steer the terminal is escaped, so that whoever reads it gets the words as they were.
    /// </summary>
    public void JsonLine(string json)
    {
        if (json.AsSpan().ContainsAnyExcept(Harmless))
            json = string.Concat(json.Select(c => Steers(c) ? FormattableString.Invariant($"\\u{(int)c:x4}") : c.ToString()));
        Out.WriteLine(json);
    }

    /// <summary>A line of our own with colours in it.</summary>
    public void Picture(string line) => Out.WriteLine(line);

    /// <summary>
    /// Class names, names of files and of data sets come from strangers: escape sequences in them could move the cursor, change the
    /// window's title or hide text, and marks of direction could turn a name around.
    /// </summary>
    public static string Clean(string text) => text.AsSpan().ContainsAnyExcept(Harmless) ? string.Create(text.Length, text, (to, from) =>
    {
        for (int i = 0; i < to.Length; i++) to[i] = Steers(from[i]) ? '?' : from[i];
    }) : text;

    /// <summary>A name from outside, alone in a line or a part of one: it must not begin lines of its own either.</summary>
    public static string Name(string name) => name.AsSpan().IndexOfAny('\n', '\r', '\t') < 0 ? name
        : name.Replace('\n', '?').Replace('\r', '?').Replace('\t', '?');

    private static bool Steers(char c) => (char.IsControl(c) && c is not ('\n' or '\t' or '\r'))
        || c is '\u2028' or '\u2029' or (>= '\u202a' and <= '\u202e') or (>= '\u2066' and <= '\u2069');

    private IAnsiConsole CreateConsole()
    {
        bool colours = Interactive && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        IAnsiConsole made = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(Out),
            Ansi = Interactive ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = colours ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = Interactive ? InteractionSupport.Yes : InteractionSupport.No,
        });
        made.Profile.Width = Interactive ? Width : Math.Max(Width, PlainTableWidth);
        return made;
    }
}
