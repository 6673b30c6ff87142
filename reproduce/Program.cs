using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Reproduce;

Terminal terminal = Together.Of(Terminal.OfProcess());
using var interrupt = new Interrupt(terminal.Error);
// Every experiment keeps what it has.
using IDisposable held = interrupt.Hold();
return Commands.Run(args, new CommandContext(terminal, interrupt.Token, interrupt));
