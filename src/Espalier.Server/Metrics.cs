using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Espalier.Server;

/// <summary>What the service counts, in the text form that Prometheus reads.</summary>
internal sealed class Metrics(IReadOnlyList<ServedModel> models, Upload upload)
{
    public const string Media = "text/plain; version=0.0.4; charset=utf-8";

    private static readonly double[] Bounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

    private readonly ConcurrentDictionary<(string Path, int Status), long> requests = new();
    private readonly ConcurrentDictionary<string, Times> times = new();

    /// <param name="path">A route, never what a client made up: each value is a line for ever.</param>
    public void Count(string path, int status, TimeSpan took)
    {
        requests.AddOrUpdate((path, status), 1, (_, n) => n + 1);
        times.GetOrAdd(path, _ => new Times()).Add(took.TotalSeconds);
    }

    public string Text()
    {
        var text = new StringBuilder();
        Head("espalier_requests_total", "counter", "Requests answered, by route and status.");
        foreach (var ((path, status), count) in requests.OrderBy(r => r.Key.Path).ThenBy(r => r.Key.Status))
            Line("espalier_requests_total", $"path=\"{path}\",status=\"{status}\"", count);
        Head("espalier_request_seconds", "histogram", "Time from a request's headers to the end of its answer.");
        foreach (var (path, t) in times.OrderBy(t => t.Key)) t.Write(path, Line);
        Each("espalier_images_total", "counter", "Images and texts computed.", m => m.Images);
        Each("espalier_batches_total", "counter", "Computations; images by them is the mean size of a batch.", m => m.Batches);
        Each("espalier_compute_seconds_total", "counter", "Time in computations.", m => m.Computed.TotalSeconds);
        Each("espalier_queue_length", "gauge", "Images and texts that wait for their turn.", m => m.Waiting);
        One("espalier_body_bytes", "gauge", "Room that bodies of requests in work may take.", upload.Bytes);
        using Process process = Process.GetCurrentProcess();
        One("process_resident_memory_bytes", "gauge", "Memory in use.", process.WorkingSet64);
        One("process_cpu_seconds_total", "counter", "Processor time.", process.TotalProcessorTime.TotalSeconds);
        return text.ToString();

        void Head(string name, string kind, string help) => text.Append($"# HELP {name} {help}\n# TYPE {name} {kind}\n");

        void Line(string name, string labels, double value) => text.Append(name).Append(labels.Length > 0 ? $"{{{labels}}}" : "")
            .Append(CultureInfo.InvariantCulture, $" {value}\n");

        void Each(string name, string kind, string help, Func<ServedModel, double> value)
        {
            Head(name, kind, help);
            foreach (ServedModel model in models) Line(name, $"model=\"{Escaped(model.Name)}\"", value(model));
        }

        void One(string name, string kind, string help, double value)
        {
            Head(name, kind, help);
            Line(name, "", value);
        }
    }

    private static string Escaped(string label) => label.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n");

    /// <summary>How many requests took at most so long.</summary>
    private sealed class Times
    {
        private readonly long[] counts = new long[Bounds.Length + 1];
        private readonly Lock gate = new();
        private double sum;

        public void Add(double seconds)
        {
            int place = Array.FindIndex(Bounds, b => seconds <= b);
            lock (gate)
            {
                counts[place < 0 ? Bounds.Length : place]++;
                sum += seconds;
            }
        }

        public void Write(string path, Action<string, string, double> line)
        {
            lock (gate)
            {
                long below = 0;
                for (int i = 0; i <= Bounds.Length; i++)
                {
                    string bound = i < Bounds.Length ? Bounds[i].ToString(CultureInfo.InvariantCulture) : "+Inf";
                    line("espalier_request_seconds_bucket", $"path=\"{path}\",le=\"{bound}\"", below += counts[i]);
                }
                line("espalier_request_seconds_sum", $"path=\"{path}\"", sum);
                line("espalier_request_seconds_count", $"path=\"{path}\"", below);
            }
        }
    }
}
