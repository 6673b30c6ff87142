using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Formats;

namespace Espalier.Compression;

/// <summary>Which channels of which groups to remove; all numbers are those before the removal.</summary>
public sealed class RemovalPlan
{
    private const int KnownFormat = 1, LongestFile = 1 << 26;

    private readonly SortedDictionary<string, int[]> channels = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> widths = [];

    /// <summary>For each group its channels to remove, rising.</summary>
    public IReadOnlyDictionary<string, int[]> Channels => channels;

    /// <summary>Number of channels over all groups, where a channel of a stream counts once.</summary>
    public int Count => channels.Values.Sum(c => c.Length);

    /// <summary>Adds channels of a group to those to remove, in any order; ones already there are not counted twice.</summary>
    public RemovalPlan Add(ChannelGroup group, params IEnumerable<int> remove) => Add(group.Name, group.Count, remove);

    private RemovalPlan Add(string group, int width, IEnumerable<int> remove)
    {
        int[] all = [.. channels.GetValueOrDefault(group, []).Union(remove).Order()];
        if (all.Length == 0) return this;
        if (all[0] < 0 || all[^1] >= width)
            throw new EspalierException($"'{group}' has no channel {(all[0] < 0 ? all[0] : all[^1])}: they are 0 to {width - 1}");
        (channels[group], widths[group]) = (all, width);
        return this;
    }

    /// <summary>Throws, with one line, where the plan cannot be carried out on a network.</summary>
    public void Check(DependencyGraph graph)
    {
        if (graph.Stale) throw new EspalierException("the graph is of the network before a removal; build another");
        if (channels.Count == 0) throw new EspalierException("the plan removes nothing: it names no channel of any group");
        foreach (string name in channels.Keys)
        {
            ChannelGroup group = graph[name];
            if (group.Count != widths[name])
                throw new EspalierException(
                    $"the plan is for another network: '{name}' has {group.Count} channels here and {widths[name]} there");
        }
        foreach (var (tensor, axis, left) in new PlannedCuts(graph, this).Lengths())
        {
            if (left == 0)
                throw new EspalierException($"the plan leaves nothing of axis {axis} of '{graph.Names[tensor]}': "
                    + $"it removes all {tensor.Shape[axis]} channels; leave at least one");
        }
    }

    public void Save(string path) => AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream,
        new PlanFile(KnownFormat, [.. channels.Select(c => new PlanEntry(c.Key, widths[c.Key], c.Value))]),
        PlanJson.Default.PlanFile));

    /// <exception cref="EspalierException">There is no such file, or it is no plan.</exception>
    public static RemovalPlan Load(string path)
    {
        byte[] text = SmallFile.Read(path, LongestFile, "a plan");
        try
        {
            PlanFile? file = JsonSerializer.Deserialize(text, PlanJson.Default.PlanFile);
            if (file is not { Format: KnownFormat, Groups: not null })
                throw new EspalierException($"{path}: its plan has format {file?.Format ?? 0}, not {KnownFormat}");
            var plan = new RemovalPlan();
            if (file.Groups.Any(entry => entry is not { Name: not null, Remove: not null }))
                throw new EspalierException($"{path}: a group lacks its name or channels");
            // All entries of a group at once: one by one, each would go through those before it.
            foreach (IGrouping<(string Name, int Of), PlanEntry> group in file.Groups.GroupBy(entry => (entry.Name, entry.Of)))
                plan.Add(group.Key.Name, group.Key.Of, group.SelectMany(entry => entry.Remove));
            return plan;
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e))
        {
            throw new EspalierException($"{path}: not a plan: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }
}

/// <summary><c>{"format":1,"groups":[{"name":"layer1.0.conv1","of":64,"remove":[2,5,7]}]}</c></summary>
internal sealed record PlanFile(int Format, PlanEntry[] Groups);

internal sealed record PlanEntry(string Name, int Of, int[] Remove);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(PlanFile))]
internal sealed partial class PlanJson : JsonSerializerContext;
