using System.Diagnostics;
using System.Globalization;

namespace Espalier.Coverage;

/// <summary>What it costs to open a file: seconds, and memory as the system counts it. One file a process, so that nothing is
/// ready.</summary>
internal static class Import
{
    public static int Run(string path)
    {
        long file = new FileInfo(path).Length;
        // Into the cache: the disk is not what is asked about.
        byte[] buffer = new byte[1 << 20];
        using (FileStream stream = File.OpenRead(path)) while (stream.Read(buffer) > 0) { }
        long before = Resident("VmRSS");
        long started = Stopwatch.GetTimestamp();
        using Model model = Model.Open(path);
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        long most = Resident("VmHWM") - before;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{Path.GetFileName(path)}: {file >> 20} MiB, {model.ParameterCount / 1e6:0.0} M parameters, {model.Graph.Nodes.Count} nodes; ")
            + string.Create(CultureInfo.InvariantCulture, $"opened in {seconds:0.00} s, ")
            + string.Create(CultureInfo.InvariantCulture, $"{most >> 20} MiB more at most, {(double)most / file:0.00} of the file; ")
            + string.Join(", ", new[] { "LayerNorm", "Gelu", "Attention" }.Select(op =>
                $"{model.Graph.Nodes.Count(n => n.Op.Name == op)} {op}")));
        return 0;
    }

    /// <summary>Bytes, of Linux's account of this process.</summary>
    private static long Resident(string key) => 1024 * long.Parse(File.ReadLines("/proc/self/status")
        .First(l => l.StartsWith(key, StringComparison.Ordinal)).Split(' ', '\t', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);
}
