namespace Espalier.Tensors;

/// <summary>Names of layers, from those of their weights.</summary>
internal static class LayerName
{
    /// <summary>The name without the last part: "layer1.0.conv1" for "layer1.0.conv1.weight". Weights of imported networks may
    /// have names without a dot, which stay as they are.</summary>
    public static string Of(string weight) => weight.LastIndexOf('.') is var dot and > 0 ? weight[..dot] : weight;
}
