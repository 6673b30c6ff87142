using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>A child process that answers requests, one JSON object a line each way: hello, load, run, output, unload, and for
/// Espalier a few more. What it loaded lies in its memory under an id; between requests its threads sleep.</summary>
internal sealed class Peer : IDisposable
{
    private readonly Process process;

    private Peer(string name, Process process) => (Name, this.process) = (name, process);

    public string Name { get; }

    /// <summary>"ONNX Runtime 1.31.1 (.NET 10.0.12)".</summary>
    public string Version { get; private set; } = "";

    /// <exception cref="EspalierException">The program does not start, or does not answer.</exception>
    public static Peer Start(string name, ChildProcess child)
    {
        var peer = new Peer(name, child.Start(pipeInput: true));
        JsonObject hello = peer.Ask(new JsonObject { ["op"] = "hello" });
        peer.Version = $"{hello["name"]} {hello["version"]} ({hello["host"]})";
        return peer;
    }

    /// <exception cref="EspalierException">The peer says that it failed, or ended.</exception>
    public JsonObject Ask(JsonObject request)
    {
        process.StandardInput.WriteLine(request.ToJsonString());
        process.StandardInput.Flush();
        string line = process.StandardOutput.ReadLine()
            ?? throw new EspalierException($"{Name} ended without an answer to {request["op"]}; its last words are above");
        JsonObject reply = JsonNode.Parse(line)!.AsObject();
        return reply["error"] is { } error ? throw new EspalierException($"{Name}: {error}") : reply;
    }

    /// <summary>Waits until no thread of the process computes any more: pools spin for a while after their work.</summary>
    public void Settle() => CpuClock.WaitUntilIdle(process.Id);

    public void Dispose()
    {
        process.StandardInput.Close();
        if (!process.WaitForExit(5000)) process.Kill();
        process.Dispose();
    }
}
