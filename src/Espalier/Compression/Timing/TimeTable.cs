using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Benchmarking;
using Espalier.Formats;
using Espalier.Inference;

namespace Espalier.Compression;

/// <summary>
/// How long layers take on this machine, by kind, size of maps and widths: measured once and kept in a file. A width that was measured
/// takes what was measured; others follow from a model of their family and from what its neighbours took more or less than it says.
/// The table of NViT (arXiv 2110.04869) and HALP (arXiv 2110.10811), with steps of sessions in place of ops.
/// </summary>
public sealed class TimeTable
{
    private readonly SortedDictionary<string, TimeFamily> families = new(StringComparer.Ordinal);
    private readonly string? path;

    private TimeTable(string? path) => this.path = path;

    /// <summary>A table that is not kept.</summary>
    public TimeTable() : this(null) { }

    /// <summary>Where this machine's table is: another processor, number of cores or build of the library has another.</summary>
    public static string UsualPath
    {
        get
        {
            MachineInfo machine = MachineInfo.Collect();
            string what = $"{machine.Cpu} {machine.Cores} {machine.Kernel} {typeof(Session).Module.ModuleVersionId}";
            string name = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(what)))[..12];
            return Path.Combine(
                Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify),
                "espalier", $"step-times-{name}.json");
        }
    }

    /// <summary>The table in a file, an empty one where there is none or it cannot be read: it is measured again.</summary>
    public static TimeTable Open(string? path = null)
    {
        var table = new TimeTable(path ?? UsualPath);
        try
        {
            if (!File.Exists(table.path)) return table;
            using FileStream stream = File.OpenRead(table.path);
            foreach (var (name, samples) in JsonSerializer.Deserialize(stream, TimeJson.Default.DictionaryStringDoubleArrayArray) ?? [])
                foreach (double[] s in samples.Where(s => s.Length == 5 && Array.TrueForAll(s, double.IsFinite) && s[4] >= 0))
                    table.Family(name).Add(new TimePoint((int)s[0], (int)s[1], (int)s[2], (int)s[3]), s[4]);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or OverflowException)
        {
            table.families.Clear();
        }
        return table;
    }

    /// <summary>Writes the table to the file that it was opened from; does nothing where that cannot be written.</summary>
    public void Save()
    {
        if (path is null) return;
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, families.ToDictionary(f => f.Key,
                f => f.Value.Points.Select(p => new double[] { p.Key.Images, p.Key.A, p.Key.B, p.Key.C, p.Value }).ToArray()),
                TimeJson.Default.DictionaryStringDoubleArrayArray));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without it the next run measures again.
        }
    }

    /// <summary>Forgets the times of some families: they are measured again.</summary>
    internal void Forget(IEnumerable<string> names)
    {
        foreach (string name in names) families.Remove(name);
    }

    /// <summary>Number of times in it.</summary>
    public int Count => families.Values.Sum(f => f.Points.Count);

    internal TimeFamily Family(string name)
    {
        if (!families.TryGetValue(name, out TimeFamily? family)) families.Add(name, family = new TimeFamily());
        return family;
    }
}

[JsonSerializable(typeof(Dictionary<string, double[][]>))]
internal sealed partial class TimeJson : JsonSerializerContext;
