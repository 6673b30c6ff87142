using Espalier.Nn;

namespace Espalier.Models;

/// <summary>
/// The lists of channels in published weights of Network Slimming: where a <see cref="ChannelSelect"/> here has <c>select.index</c>,
/// the numbers of the channels that it picks, they have <c>select.indexes</c>, a one for each channel that is picked and a zero for
/// each that is not.
/// </summary>
internal static class PublishedLists
{
    private const string Ours = ".index", Theirs = ".indexes";

    /// <summary>The lists, by our names, that a file has under theirs.</summary>
    /// <exception cref="EspalierException">A list picks nothing.</exception>
    public static Dictionary<string, float[]> Read(Module net, ModelTensors file)
    {
        var lists = new Dictionary<string, float[]>();
        foreach (var (name, _) in net.StateDict())
        {
            if (!name.EndsWith(Ours, StringComparison.Ordinal) || file.Shapes.ContainsKey(name)) continue;
            string published = name[..^Ours.Length] + Theirs;
            if (!file.Shapes.ContainsKey(published)) continue;
            float[] picked = file.Read(published);
            lists[name] = [.. Enumerable.Range(0, picked.Length).Where(c => picked[c] != 0).Select(c => (float)c)];
            if (lists[name].Length == 0)
                throw new EspalierException($"{file.Source}: {published} picks no channel, so nothing gets through that layer");
        }
        return lists;
    }
}
