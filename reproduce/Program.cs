using Espalier.Cli;
using Espalier.Reproduce;

using var interrupt = new Interrupt();
return Commands.Run(args, new Session(Terminal.OfProcess(), interrupt.Token, interrupt));
