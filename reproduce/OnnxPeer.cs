using Espalier.Compression;
using Espalier.Tensors;
using Espalier.Tensors.Threading;
using Microsoft.ML.OnnxRuntime;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier;

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

    /// <summary>The first output for images [N, C, S, S]; one after another where the file is for one, as that of a network is whose
    /// images may keep different numbers of tokens.</summary>
    public float[] Run(Tensor images)
    {
        float[] values = images.ToArray();
        int[] shape = images.Shape.ToArray();
        if (session.InputMetadata[session.InputNames[0]].Dimensions[0] != 1 || shape[0] == 1) return Run(values, shape);
        int length = values.Length / shape[0];
        return [.. Enumerable.Range(0, shape[0]).SelectMany(i => Run(values[(i * length)..((i + 1) * length)], [1, .. shape[1..]]))];
    }

    /// <summary>The first output for values of the first input.</summary>
    /// <param name="shape">Null for what the file says, with one image.</param>
    public float[] Run(float[] images, int[]? shape = null)
    {
        shape ??= [.. session.InputMetadata[session.InputNames[0]].Dimensions.Select(n => Math.Max(1, n))];
        return Run<float>(images, shape, session.OutputNames[0]);
    }

    /// <summary>Any output.</summary>
    public T[] Run<T>(float[] images, int[] shape, string output) where T : unmanaged
    {
        using OrtValue input = OrtValue.CreateTensorValueFromMemory(images, [.. shape.Select(n => (long)n)]);
        using IDisposableReadOnlyCollection<OrtValue> outputs =
            session.Run(options, [session.InputNames[0]], [input], [output]);
        return outputs[0].GetTensorDataAsSpan<T>().ToArray();
    }

    /// <summary>How far another answer is off, relative to the largest value of this one.</summary>
    public static double Difference(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual) =>
        Removal.Difference(expected, actual) / Math.Max(Math.Abs((double)TensorPrimitives.MaxMagnitude(expected)), 1e-30);

    public void Dispose()
    {
        session.Dispose();
        options.Dispose();
    }
}
