using System.Text.Json.Nodes;
using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Peers;

/// <summary>A process that makes one prediction and ends: for the time from its start, and for its memory.</summary>
internal static class FirstPrediction
{
    public static void Run(string weights, string input, int batch, TextWriter output)
    {
        Workers.Threads = 2;
        using Session session = Session.Open(weights);
        float[] images = InputFile.Read(input, batch, session.Channels, session.ImageSize);
        var logits = new float[batch * session.NumClasses];
        session.Run(images, batch, logits);
        int label = TensorPrimitives.IndexOfMax<float>(logits.AsSpan(0, session.NumClasses));
        output.WriteLine(new JsonObject { ["label"] = label, ["peak"] = PeakMemory.Bytes / 1024 }.ToJsonString());
    }
}
