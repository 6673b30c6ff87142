using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>How long and with what to measure.</summary>
/// <param name="Work">Folder for models, raw samples and the peers' libraries.</param>
/// <param name="Scripts">Folder of torch_peer.py and reasons.json.</param>
internal sealed record BenchSettings(
    string Work, string Scripts, int Rounds, int WarmUps, double WindowSeconds, int Threads, bool Quick);

/// <summary>What the trials share: the peers, each started at its first use, the models, and the raw samples.</summary>
internal sealed class Bench(BenchSettings settings, Action<string> log) : IDisposable
{
    private Peer? espalier, avx2, ort, torch;

    public BenchSettings Settings { get; } = settings;

    public ModelFolder Models { get; } = new(Path.Combine(settings.Work, "models"));

    public Peer Espalier => espalier ??= Started(Peer.Start("Espalier", Programs.This("serve")));

    /// <summary>Espalier without AVX-512.</summary>
    public Peer EspalierAvx2 => avx2 ??=
        Started(Peer.Start("Espalier, AVX2", Programs.WithoutAvx512(Programs.This("serve"))));

    public Peer Ort => ort ??= Started(Peer.Start("ONNX Runtime", Programs.This("serve-ort")));

    public Peer Torch => torch ??= Started(Peer.Start("PyTorch", Programs.Torch(Settings)));

    /// <summary>Versions of the peers that were started.</summary>
    public IReadOnlyList<string> Versions => [.. new[] { espalier, ort, torch }.OfType<Peer>().Select(p => p.Version)];

    /// <summary>Every figure of every round, for the file of raw samples.</summary>
    public JsonArray Samples { get; } = [];

    /// <summary>The FMA peaks that were measured, GFLOP/s by kernel.</summary>
    public Dictionary<string, double> Peaks { get; } = [];

    /// <summary>A model in a peer, from the file that it reads.</summary>
    public Side Load(Peer peer, ModelFiles model, string task, int batch, JsonObject? options = null) =>
        new(peer, model, peer == ort ? model.Onnx : model.Weights, task, batch, Settings.Threads, options);

    /// <summary>Measures in turn and keeps the figures.</summary>
    public Measurement Measure(string trial, params Lane[] lanes)
    {
        Measurement rounds = Interleave.Run(Settings.Rounds, Settings.WarmUps, Settings.WindowSeconds, lanes);
        Samples.Add(new JsonObject
        {
            ["trial"] = trial,
            ["lanes"] = new JsonArray([.. lanes.Select(l => JsonValue.Create(l.Name))]),
            ["rounds"] = new JsonArray([.. rounds.Figures.Select(r => new JsonArray([.. r.Select(x => JsonValue.Create(x))]))]),
        });
        return rounds;
    }

    /// <summary>A lane that measures what the processor can do at most, in GFLOP/s.</summary>
    public Lane Peak(Peer peer) => new("FMA peak", _ =>
    {
        JsonObject reply = peer.Ask(new JsonObject { ["op"] = "peak", ["threads"] = Settings.Threads });
        double peak = (double)reply["gflops"]!;
        string kernel = (string)reply["kernel"]!;
        Peaks[kernel] = Math.Max(peak, Peaks.GetValueOrDefault(kernel));
        peer.Settle();
        return peak;
    });

    public void Dispose()
    {
        foreach (Peer? peer in new[] { espalier, avx2, ort, torch }) peer?.Dispose();
    }

    private Peer Started(Peer peer)
    {
        log(peer.Version);
        return peer;
    }
}
