using Espalier.Tensors;
using Espalier.Tensors.Threading;
using Microsoft.ML.OnnxRuntime;

namespace Espalier.Reproduce;

/// <summary>A network's ONNX file in ONNX Runtime, with as many threads as this program has: another engine's answer and speed.</summary>
internal sealed class OnnxPeer : IDisposable
{
    private readonly InferenceSession session;
    private readonly RunOptions options = new();

    /// <exception cref="EspalierException">ONNX Runtime does not take the file.</exception>
    public OnnxPeer(string file)
    {
        using var threads = new SessionOptions { IntraOpNumThreads = Workers.Threads };
        try
        {
            session = new InferenceSession(file, threads);
        }
        catch (OnnxRuntimeException e)
        {
            throw new EspalierException($"{file}: ONNX Runtime says: {e.Message.Split('\n')[0]}");
        }
    }

    /// <summary>The first output for images [N, C, S, S].</summary>
    public float[] Run(Tensor images)
    {
        using OrtValue input = OrtValue.CreateTensorValueFromMemory(images.ToArray(), [.. images.Shape.ToArray().Select(n => (long)n)]);
        using IDisposableReadOnlyCollection<OrtValue> outputs =
            session.Run(options, [session.InputNames[0]], [input], [session.OutputNames[0]]);
        return outputs[0].GetTensorDataAsSpan<float>().ToArray();
    }

    /// <summary>How far another answer is off, relative to the largest value of this one.</summary>
    public static double Difference(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        double largest = 0, off = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            largest = Math.Max(largest, Math.Abs(expected[i]));
            // What is no number is as far off as can be.
            double d = Math.Abs((double)expected[i] - actual[i]);
            off = double.IsNaN(d) ? double.PositiveInfinity : Math.Max(off, d);
        }
        return off / Math.Max(largest, 1e-30);
    }

    public void Dispose()
    {
        session.Dispose();
        options.Dispose();
    }
}
