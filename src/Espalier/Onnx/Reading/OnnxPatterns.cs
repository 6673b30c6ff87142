using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Puts the patterns that exporters leave together to ops.</summary>
internal static class OnnxPatterns
{
    public static void Apply(Graph graph) => graph.Refresh();
}
