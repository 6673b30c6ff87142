using Espalier.Cli.Display;
using Espalier.Compression;

namespace Espalier.Cli.Running;

/// <summary>How small a network of few bits could be.</summary>
internal static class SizeLine
{
    public static void Show(Terminal terminal, Model model) => terminal.Line(
        $"bound       {Format.Bytes(BeforeAfter.EntropyBytes(model))} of weights, were their codes packed to their entropy");
}
