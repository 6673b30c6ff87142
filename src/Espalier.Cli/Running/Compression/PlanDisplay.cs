using Espalier.Cli.Display;
using Espalier.Compression;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>What `compress --plan` prints.</summary>
internal static class PlanDisplay
{
    /// <summary>The groups, what they would become, and the totals; nothing is cut.</summary>
    /// <param name="file">Where the plan goes as JSON; null to write none.</param>
    public static void Show(CompressionJob job, CompressionMethod method, Terminal terminal, string? file)
    {
        if (method is not ImportanceMethod scoring)
            throw new EspalierException($"{method.Name} chooses while it trains, so there is no plan beforehand; "
                + "leave --plan out");
        using DependencyGraph graph = job.Graph();
        SelectionOptions selection = job.Options.Selection.Checked();
        RemovalPlan removal = job.Select(graph, scoring.Score(job, graph, selection.Candidates(graph)), selection);
        PlanSummary summary = PlanSummary.Of(graph, removal);
        Table table = Tables.New("group", "channels", "kept", "layers");
        foreach (ChannelGroup group in graph.Groups)
        {
            int removed = removal.Channels.TryGetValue(group.Name, out int[]? gone) ? gone.Length : 0;
            table.Row(group.Name, $"{group.Count}", $"{group.Count - removed}", string.Join(", ", group.Layers.Take(4))
                + (group.Layers.Count > 4 ? $" and {group.Layers.Count - 4} more" : ""));
        }
        terminal.Console.Write(table);
        foreach (FixedChannels f in graph.Fixed) terminal.Line($"stays       {f.Name} ({f.Count}): {f.Reason}");
        terminal.Line($"parameters  {Format.Large(summary.ParametersBefore)} -> {Format.Large(summary.ParametersAfter)}");
        terminal.Line($"MACs/image  {Format.Large(summary.MultiplyAddsBefore)} -> {Format.Large(summary.MultiplyAddsAfter)}");
        if (file is null) return;
        removal.Save(file);
        terminal.Line($"plan        {file}");
    }
}
