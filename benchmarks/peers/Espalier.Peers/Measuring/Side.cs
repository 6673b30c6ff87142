using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>One model loaded in one peer. Disposing unloads it.</summary>
internal sealed class Side : IDisposable
{
    private static int count;

    private readonly Peer peer;
    private readonly string id = $"m{++count}";

    /// <param name="file">What the peer reads: safetensors or ONNX.</param>
    /// <param name="task">"infer", "train", and for Espalier a few more.</param>
    /// <param name="options">What the task needs besides.</param>
    public Side(Peer peer, ModelFiles model, string file, string task, int batch, int threads, JsonObject? options = null)
    {
        this.peer = peer;
        var request = new JsonObject
        {
            ["op"] = "load", ["id"] = id, ["file"] = file, ["input"] = model.Input, ["task"] = task, ["batch"] = batch,
            ["channels"] = model.Channels, ["size"] = model.ImageSize, ["threads"] = threads,
        };
        foreach (var (name, value) in options ?? []) request[name] = value?.DeepClone();
        peer.Ask(request);
    }

    public string Name => peer.Name;

    /// <summary>Calls for at least so long, then waits until the peer's threads sleep.</summary>
    /// <returns>Mean seconds a call.</returns>
    public double Run(double seconds)
    {
        JsonObject reply = peer.Ask(new JsonObject { ["op"] = "run", ["id"] = id, ["seconds"] = seconds });
        peer.Settle();
        return reply["times"]!.AsArray().Average(t => (double)t!) / 1000;
    }

    public float[] Output() =>
        [.. peer.Ask(new JsonObject { ["op"] = "output", ["id"] = id })["output"]!.AsArray().Select(x => (float)x!)];

    /// <summary>Tokens of the first image that enter block 0, then those left after each agent.</summary>
    public int[] Tokens() =>
        [.. peer.Ask(new JsonObject { ["op"] = "tokens", ["id"] = id })["tokens"]!.AsArray().Select(n => (int)n!)];

    /// <summary>Managed bytes that a warm call allocates.</summary>
    public double Allocated() => (double)peer.Ask(new JsonObject { ["op"] = "allocated", ["id"] = id })["bytes"]!;

    public void Dispose() => peer.Ask(new JsonObject { ["op"] = "unload", ["id"] = id });
}
