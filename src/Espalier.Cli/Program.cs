namespace Espalier.Cli;

internal static class Program
{
    private static int Main(string[] args)
    {
        using var interrupt = new Interrupt(Console.Error);
        return CommandLine.Run(args, new CommandContext(Terminal.OfProcess(), interrupt.Token, interrupt));
    }
}
