using System.Text.Json.Nodes;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Peers;

/// <summary>Espalier's side.</summary>
internal sealed class EspalierServer : Server
{
    protected override JsonObject Hello() => new()
    {
        ["name"] = "Espalier", ["version"] = typeof(Tensor).Assembly.GetName().Version!.ToString(3),
        ["host"] = $".NET {Environment.Version}, {KernelInfo.Name}",
    };

    protected override IWork Load(JsonObject request)
    {
        Workers.Threads = (int)request["threads"]!;
        string file = (string)request["file"]!, input = (string)request["input"]!, task = (string)request["task"]!;
        int batch = (int)request["batch"]!;
        return task switch
        {
            "infer" => new InferenceWork(
                file, input, batch, (int)request["channels"]!, (int)request["size"]!, Options(request)),
            "forward" => new ForwardWork(file, input, batch),
            "train-apt" => new AptTrainingWork(file, input, batch, (double)request["share"]!),
            "train" => new TrainingWork(file, input, batch, (float)request["lr"]!, Asked(request)),
            _ => throw new ArgumentException($"no such task: {task}"),
        };
    }

    protected override bool IsKnown(Exception exception) => exception is EspalierException;

    protected override JsonObject AnswerMore(JsonObject request)
    {
        switch ((string)request["op"]!)
        {
            case "tokens":
                int[] tokens = ((InferenceWork)Loaded(request)).Tokens();
                return new() { ["tokens"] = new JsonArray([.. tokens.Select(n => JsonValue.Create(n))]) };
            case "allocated":
                return new() { ["bytes"] = AllocatedBytes(Loaded(request)) };
            case "peak":
                return new() { ["gflops"] = PeakFma.Measure((int)request["threads"]!), ["kernel"] = KernelInfo.Name };
            default:
                return base.AnswerMore(request);
        }
    }

    /// <summary>Dense, unless a share of tokens to keep is given.</summary>
    private static SessionOptions Options(JsonObject request) => new()
    {
        Precision = Asked(request),
        Pruning = request["keepShare"] is { } share ? Pruning.KeepShare((double)share) : Pruning.None,
    };

    private static Precision Asked(JsonObject request) =>
        request["precision"] is { } precision ? Enum.Parse<Precision>((string)precision!) : Precision.Fp32;

    /// <summary>Managed bytes that a call allocates when it is warm.</summary>
    private static double AllocatedBytes(IWork work)
    {
        const int calls = 10;
        for (int i = 0; i < calls; i++) work.Call();
        long before = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < calls; i++) work.Call();
        return (GC.GetTotalAllocatedBytes(precise: true) - before) / (double)calls;
    }
}
