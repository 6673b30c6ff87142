using System.Diagnostics;
using System.Text.Json.Nodes;
using Espalier.Inference;
using Espalier.Models;
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
                string host = $".NET {Environment.Version}, {KernelInfo.Name}";
                return new() { ["name"] = "Espalier", ["version"] = version, ["host"] = host };
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
            case "tokens":
                int[] tokens = ((InferenceWork)loaded[id]).Tokens();
                return new() { ["tokens"] = new JsonArray([.. tokens.Select(n => JsonValue.Create(n))]) };
            case "allocated":
                return new() { ["bytes"] = AllocatedBytes(loaded[id]) };
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
            "infer" when CnnFile.IsCnn(file) => new CnnWork(file, input, batch),
            "infer" => new InferenceWork(file, input, batch, Options(request)),
            "forward" => new ForwardWork(file, input, batch),
            "train-apt" => new AptTrainingWork(file, input, batch, (double)request["share"]!),
            "train" => new TrainingWork(file, input, batch, (float)request["lr"]!),
            _ => throw new EspalierException($"no such task: {task}"),
        };
    }

    /// <summary>Dense, unless a share of tokens to keep is given.</summary>
    private static SessionOptions Options(JsonObject request) => new()
    {
        Precision = request["precision"] is { } precision ? Enum.Parse<Precision>((string)precision!) : Precision.Fp32,
        Pruning = request["keepShare"] is { } share ? Pruning.KeepShare((double)share) : Pruning.None,
    };

    /// <summary>Managed bytes that a call allocates when it is warm.</summary>
    private static double AllocatedBytes(IWork work)
    {
        const int calls = 10;
        for (int i = 0; i < calls; i++) work.Call();
        long before = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < calls; i++) work.Call();
        return (GC.GetTotalAllocatedBytes(precise: true) - before) / (double)calls;
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
