using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Reporting;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>What a network is and does, without its time.</summary>
/// <param name="Groups">All that could lose channels; each has kept what it has.</param>
/// <param name="Accuracy">Of a network on images without labels the share of them for which it answers as the whole network does.</param>
internal sealed record CompressNumbers(double Parameters, double MultiplyAdds, double Accuracy, double Bytes,
    IReadOnlyList<CompressedGroup> Groups)
{
    /// <param name="file">Where the network is at the moment.</param>
    /// <param name="accuracy">Where it is known; else it is measured.</param>
    public static CompressNumbers Of(CompressionJob job, TemporaryModel file, double? accuracy)
    {
        using DependencyGraph graph = job.Graph();
        return new CompressNumbers(job.Model.ParameterCount, graph.MultiplyAdds(), accuracy ?? job.Evaluate().Scalars["accuracy"], file.Bytes,
            [.. graph.Groups.Select(g => new CompressedGroup(g.Name, g.Layers, g.Count, g.Count))]);
    }

    public CompressedNetwork With(double milliseconds) => new(Parameters, MultiplyAdds, Accuracy, Bytes, milliseconds);

    /// <summary>Two networks side by side, each number with its ratio.</summary>
    /// <param name="outputs">Of both.</param>
    /// <param name="labelled">Whether accuracy is by labels.</param>
    public static Table Compare(CompressNumbers before, CompressNumbers after, (double Before, double After) milliseconds,
        OutputComparison outputs, bool labelled)
    {
        Table table = Tables.New("", "before", "after", "ratio");
        Row("parameters", before.Parameters, after.Parameters, Format.Large);
        Row("MACs an image", before.MultiplyAdds, after.MultiplyAdds, Format.Large);
        table.Row(labelled ? "accuracy" : "same answer", Format.Percent(before.Accuracy), Format.Percent(after.Accuracy),
            Format.Number(100 * (after.Accuracy - before.Accuracy), "+0.00;-0.00") + " points");
        table.Row("output's cosine", "1", Format.Number(outputs.Cosine, "0.0000"), "");
        Row("file", before.Bytes, after.Bytes, Format.Bytes);
        Row("ms an image", milliseconds.Before, milliseconds.After, x => Format.Number(x, "0.000"));
        return table;

        void Row(string name, double x, double y, Func<double, string> format) =>
            table.Row(name, format(x), format(y), Format.Number(y / x, "0.000"));
    }
}
