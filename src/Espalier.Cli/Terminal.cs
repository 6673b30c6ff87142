using Spectre.Console;

namespace Espalier.Cli;

/// <summary>Where a verb writes.</summary>
/// <param name="Interactive">A person watches: bars may move. False for files and pipes, which get plain lines.</param>
/// <param name="Width">Columns.</param>
internal sealed record Terminal(TextWriter Out, TextWriter Error, bool Interactive, int Width)
{
    private const int PlainWidth = 120;
    private IAnsiConsole? console;

    /// <summary>Tables and bars. Colours where the terminal has them and NO_COLOR is not set.</summary>
    public IAnsiConsole Console => console ??= CreateConsole();

    public static Terminal OfProcess()
    {
        bool interactive = !System.Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb";
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

    public void Line(string text = "") => Out.WriteLine(text);

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
        made.Profile.Width = Width;
        return made;
    }
}
