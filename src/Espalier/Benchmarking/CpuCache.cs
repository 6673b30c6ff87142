using System.Globalization;

namespace Espalier.Benchmarking;

/// <summary>One cache of the first core.</summary>
/// <param name="Level">1 is the nearest.</param>
/// <param name="Kind">"Data", "Instruction" or "Unified".</param>
public sealed record CpuCache(int Level, string Kind, long Bytes)
{
    /// <summary>What the system says of them; empty where it says nothing (all but Linux).</summary>
    public static IReadOnlyList<CpuCache> All()
    {
        const string folder = "/sys/devices/system/cpu/cpu0/cache";
        if (!Directory.Exists(folder)) return [];
        return [.. Directory.GetDirectories(folder, "index*").Select(Read).OfType<CpuCache>()
            .OrderBy(c => c.Level).ThenBy(c => c.Kind, StringComparer.Ordinal)];
    }

    /// <summary>Null where the entry is not as expected: then it is left out.</summary>
    private static CpuCache? Read(string folder)
    {
        string size = Text("size");
        return int.TryParse(Text("level"), CultureInfo.InvariantCulture, out int level) && size.EndsWith('K')
            && long.TryParse(size[..^1], CultureInfo.InvariantCulture, out long kilobytes)
            ? new CpuCache(level, Text("type"), kilobytes * 1024) : null;

        string Text(string name)
        {
            string file = Path.Combine(folder, name);
            return File.Exists(file) ? File.ReadAllText(file).Trim() : "";
        }
    }
}
