using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;

namespace Espalier.Coverage;

/// <summary>A file in ONNX Runtime, its first output for images of the first input.</summary>
internal sealed class OnnxPeer(string file) : IDisposable
{
    private readonly InferenceSession session = new(file);

    /// <param name="shape">Null for what the file says, with one image.</param>
    public float[] Run(float[] images, params long[] shape)
    {
        if (shape.Length == 0)
            shape = [.. session.InputMetadata[session.InputNames[0]].Dimensions.Select(n => Math.Max(1L, n))];
        using var run = new RunOptions();
        using OrtValue input = OrtValue.CreateTensorValueFromMemory(images, shape);
        using IDisposableReadOnlyCollection<OrtValue> outputs =
            session.Run(run, [session.InputNames[0]], [input], [session.OutputNames[0]]);
        return MemoryMarshal.Cast<byte, float>(outputs[0].GetTensorDataAsSpan<byte>()).ToArray();
    }

    public void Dispose() => session.Dispose();
}
