using System.Text.Json.Nodes;
using Microsoft.ML.OnnxRuntime;

namespace Espalier.Peers;

/// <summary>ONNX Runtime's side. Nothing of Espalier is used here: its library is not even loaded.</summary>
internal sealed class OrtServer : Server
{
    protected override JsonObject Hello() => new()
    {
        ["name"] = "ONNX Runtime", ["version"] = OrtEnv.Instance().GetVersionString(), ["host"] = $".NET {Environment.Version}",
    };

    protected override IWork Load(JsonObject request) => new OrtWork((string)request["file"]!, (string)request["input"]!,
        (int)request["batch"]!, (int)request["channels"]!, (int)request["size"]!, (int)request["threads"]!);

    protected override bool IsKnown(Exception exception) => exception is OnnxRuntimeException;
}

/// <summary>Inference by ONNX Runtime at its best: all optimisations, into memory that is there already, as ours.</summary>
internal sealed class OrtWork : IWork
{
    private readonly InferenceSession session;
    private readonly RunOptions run = new();
    private readonly OrtValue[] inputs, outputs;
    private readonly string[] inputNames, outputNames;
    private readonly float[] logits;

    public OrtWork(string model, string input, int batch, int channels, int size, int threads)
    {
        using var options = new SessionOptions
        {
            IntraOpNumThreads = threads, InterOpNumThreads = 1, ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
        };
        // Our files call the batch N. Fixed at load, it makes a few shapes constant, which is one percent faster.
        options.AddFreeDimensionOverrideByName("N", batch);
        session = new InferenceSession(model, options);
        float[] images = InputFile.Read(input, batch, channels, size);
        (inputNames, outputNames) = ([session.InputNames[0]], [session.OutputNames[0]]);
        inputs = [channels == 0 ? OrtValue.CreateTensorValueFromMemory(Array.ConvertAll(images, x => (long)x), [batch, size])
            : OrtValue.CreateTensorValueFromMemory(images, [batch, channels, size, size])];
        using IDisposableReadOnlyCollection<OrtValue> first = session.Run(run, inputNames, inputs, outputNames);
        long[] shape = first[0].GetTensorTypeAndShape().Shape;
        logits = first[0].GetTensorDataAsSpan<float>().ToArray();
        outputs = [OrtValue.CreateTensorValueFromMemory(logits, shape)];
    }

    public void Call() => session.Run(run, inputNames, inputs, outputNames, outputs);

    public float[] Output()
    {
        Call();
        return logits;
    }

    public void Dispose()
    {
        inputs[0].Dispose();
        outputs[0].Dispose();
        run.Dispose();
        session.Dispose();
    }
}
