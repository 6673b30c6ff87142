using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.ML.OnnxRuntime;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Peers;

/// <summary>The same by ONNX Runtime, in as few steps.</summary>
internal static class FirstOrtPrediction
{
    public static void Run(string model, string input, int batch, int channels, int size, TextWriter output)
    {
        using var options = new SessionOptions { IntraOpNumThreads = 2, InterOpNumThreads = 1 };
        using var session = new InferenceSession(model, options);
        float[] images = InputFile.Read(input, batch, channels, size);
        using OrtValue value = OrtValue.CreateTensorValueFromMemory(images, [batch, channels, size, size]);
        using var run = new RunOptions();
        using var results = session.Run(run, [session.InputNames[0]], [value], [session.OutputNames[0]]);
        ReadOnlySpan<float> logits = results[0].GetTensorDataAsSpan<float>();
        int label = TensorPrimitives.IndexOfMax(logits[..(logits.Length / batch)]);
        long peak = Process.GetCurrentProcess().PeakWorkingSet64;
        output.WriteLine(new JsonObject { ["label"] = label, ["peak"] = peak / 1024 }.ToJsonString());
    }
}
