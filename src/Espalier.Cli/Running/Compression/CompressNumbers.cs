using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Reporting;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>What a network is and does, without its time.</summary>
/// <param name="Groups">All that could lose channels; each has kept what it has.</param>
internal sealed record CompressNumbers(double Parameters, double MultiplyAdds, double Accuracy, double Bytes,
    IReadOnlyList<CompressedGroup> Groups)
{
    /// <param name="file">Where the network is at the moment.</param>
    public static CompressNumbers Of(CompressionJob job, TemporaryModel file)
    {
        using DependencyGraph graph = job.Graph();
        return new CompressNumbers(job.Model.ParameterCount, graph.MultiplyAdds(), job.Evaluate().Scalars["accuracy"], file.Bytes,
            [.. graph.Groups.Select(g => new CompressedGroup(g.Name, g.Layers, g.Count, g.Count))]);
    }

    public CompressedNetwork With(double milliseconds) => new(Parameters, MultiplyAdds, Accuracy, Bytes, milliseconds);

    /// <summary>Two networks side by side, each number with its ratio.</summary>
    public static Table Compare(CompressNumbers before, CompressNumbers after, (double Before, double After) milliseconds)
    {
        Table table = Tables.New("", "before", "after", "ratio");
        Row("parameters", before.Parameters, after.Parameters, Format.Large);
        Row("MACs an image", before.MultiplyAdds, after.MultiplyAdds, Format.Large);
        table.Row("accuracy", Format.Percent(before.Accuracy), Format.Percent(after.Accuracy),
            Format.Number(100 * (after.Accuracy - before.Accuracy), "+0.00;-0.00") + " points");
        Row("file", before.Bytes, after.Bytes, Format.Bytes);
        Row("ms an image", milliseconds.Before, milliseconds.After, x => Format.Number(x, "0.000"));
        return table;

        void Row(string name, double x, double y, Func<double, string> format) =>
            table.Row(name, format(x), format(y), Format.Number(y / x, "0.000"));
    }
}
