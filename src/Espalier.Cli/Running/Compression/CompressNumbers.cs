using Espalier.Cli.Display;
using Espalier.Compression;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>Two networks side by side, each number with its ratio.</summary>
internal static class CompressNumbers
{
    /// <param name="labelled">Whether accuracy is by labels.</param>
    public static Table Table(Comparison comparison, bool labelled)
    {
        (ModelNumbers before, ModelNumbers after) = (comparison.Before, comparison.After);
        Table table = Tables.New("", "before", "after", "ratio");
        Row("parameters", before.Parameters, after.Parameters, Format.Large);
        Row("MACs an image", before.MultiplyAdds, after.MultiplyAdds, Format.Large);
        table.Row(labelled ? "accuracy" : "same answer", Format.Percent(before.Accuracy), Format.Percent(after.Accuracy),
            Format.Number(100 * (after.Accuracy - before.Accuracy), "+0.00;-0.00") + " points");
        table.Row("output's cosine", "1", Format.Number(comparison.Outputs.Cosine, "0.0000"), "");
        Row("file", before.Bytes, after.Bytes, Format.Bytes);
        Row("ms an image", before.Milliseconds, after.Milliseconds, x => Format.Number(x, "0.000"));
        Row($"ms, {BeforeAfter.TimedBatch} at a time", before.MillisecondsOfBatch, after.MillisecondsOfBatch, x => Format.Number(x, "0.000"));
        return table;

        void Row(string name, double x, double y, Func<double, string> format) =>
            table.Row(name, format(x), format(y), Format.Number(y / x, "0.000"));
    }

    /// <summary>How small a network of few bits could be.</summary>
    public static void Bound(Terminal terminal, Model model) => terminal.Line(
        $"bound       {Format.Bytes(BeforeAfter.EntropyBytes(model))} of weights, were their codes packed to their entropy");
}
