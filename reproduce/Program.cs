using Espalier.Cli;
using Espalier.Reproduce;

using var interrupt = new Interrupt();
return Commands.Run(args, new CommandContext(Terminal.OfProcess(), interrupt.Token, interrupt));
