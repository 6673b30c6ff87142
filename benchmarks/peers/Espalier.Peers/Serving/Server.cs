using System.Diagnostics;
using System.Text.Json.Nodes;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Peers;

/// <summary>Espalier's side of the comparison: answers a <see cref="Peer"/>'s requests on standard input.</summary>
internal sealed class Server
{
    private readonly Dictionary<string, IWork> loaded = [];

    public void Run(TextReader input, TextWriter output)
    {
        while (input.ReadLine() is { } line)
        {
            JsonObject reply;
            try
            {
                reply = Answer(JsonNode.Parse(line)!.AsObject());
            }
            catch (EspalierException e)
            {
                reply = new JsonObject { ["error"] = e.Message };
            }
            output.WriteLine(reply.ToJsonString());
            output.Flush();
        }
    }

    private JsonObject Answer(JsonObject request)
    {
        string id = (string?)request["id"] ?? "";
        switch ((string)request["op"]!)
        {
            case "hello":
                string version = typeof(Tensor).Assembly.GetName().Version!.ToString(3);
                return new() { ["name"] = "Espalier", ["version"] = version, ["host"] = $".NET {Environment.Version}, {KernelInfo.Name}" };
            case "load":
                Workers.Threads = (int)request["threads"]!;
                loaded[id] = Load(request);
                return [];
            case "run":
                return new() { ["times"] = Times(loaded[id], (double)request["seconds"]!) };
            case "output":
                return new() { ["output"] = new JsonArray([.. loaded[id].Output().Select(x => JsonValue.Create(x))]) };
            case "unload":
                loaded.Remove(id, out IWork? work);
                work!.Dispose();
                return [];
            case "peak":
                return new() { ["gflops"] = PeakFma.Measure((int)request["threads"]!), ["kernel"] = KernelInfo.Name };
            case var op:
                throw new EspalierException($"no such request: {op}");
        }
    }

    private static IWork Load(JsonObject request)
    {
        string file = (string)request["file"]!, input = (string)request["input"]!, task = (string)request["task"]!;
        int batch = (int)request["batch"]!;
        return task switch
        {
            "infer" or "forward" => new ForwardWork(file, input, batch),
            "train" => new TrainingWork(file, input, batch, (float)request["lr"]!),
            _ => throw new EspalierException($"no such task: {task}"),
        };
    }

    /// <summary>Milliseconds of each call, until the window is over.</summary>
    private static JsonArray Times(IWork work, double seconds)
    {
        var times = new List<double>();
        long start = Stopwatch.GetTimestamp(), now = start;
        do
        {
            work.Call();
            long end = Stopwatch.GetTimestamp();
            times.Add(Stopwatch.GetElapsedTime(now, end).TotalMilliseconds);
            now = end;
        }
        while (Stopwatch.GetElapsedTime(start, now).TotalSeconds < seconds);
        return new JsonArray([.. times.Select(t => JsonValue.Create(t))]);
    }
}
