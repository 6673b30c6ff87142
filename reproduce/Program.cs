using Espalier.Cli;
using Espalier.Reproduce;

using var interrupt = new Interrupt(Console.Error);
// Every experiment keeps what it has.
using IDisposable held = interrupt.Hold();
return Commands.Run(args, new CommandContext(Terminal.OfProcess(), interrupt.Token, interrupt));
