using Espalier.Cli.Running;

namespace Espalier.Cli;

internal static class Program
{
    private static int Main(string[] args)
    {
        Terminal terminal = Together.Of(Terminal.OfProcess());
        using var interrupt = new Interrupt(terminal.Error);
        return CommandLine.Run(args, new CommandContext(terminal, interrupt.Token, interrupt));
    }
}
