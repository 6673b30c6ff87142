using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// Brings the channels between two convolutions to one range, for weights that have one scale: W1's rows divided and W2's columns
/// multiplied by s = sqrt(r1 r2) / r2, where what is between them is the identity or ReLU. The network stays what it was.
/// Data-free quantization (Nagel et al., arXiv 1906.04721).
/// </summary>
internal static class Equalisation
{
    private const double Settled = 0.01;

    private const int MostRounds = 20;

    /// <summary>Goes over all pairs until no factor changes by more than 1 %.</summary>
    /// <returns>How many pairs.</returns>
    public static int Apply(Graph graph)
    {
        (GraphNode First, GraphNode Second)[] pairs = [.. graph.Nodes.Select(n => (n, Behind(graph, n))).Where(p =>
            p.Item2 is not null)
            .Select(p => (p.n, p.Item2!))];
        for (int round = 0; round < MostRounds; round++)
        {
            double most = 0;
            foreach (var (first, second) in pairs)
                most = Math.Max(most, Equalise(first.Operands[1]!.Tensor, first.Operands.ElementAtOrDefault(2)?.Tensor,
                    second.Operands[1]!.Tensor));
            if (most < Settled) break;
        }
        return pairs.Length;
    }

    /// <summary>The layer that alone reads what this one gives, but for ReLU and dropout.</summary>
    private static GraphNode? Behind(Graph graph, GraphNode layer)
    {
        if (!IsOwn(graph, layer)) return null;
        GraphValue value = layer.Output;
        while (true)
        {
            GraphNode[] readers = [.. graph.Nodes.Where(n => n.Inputs.Contains(value))];
            if (readers is not [{ } reader] || graph.Outputs.Contains(value)) return null;
            if (reader.Op is ReluOp or DropoutOp) value = reader.Output;
            else return IsOwn(graph, reader) && reader.Operands[0] == value && reader.Inputs.Count(i => i == value) == 1
                && Fits(layer, reader) ? reader : null;
        }
    }

    /// <summary>A layer whose weight and bias nobody else uses.</summary>
    private static bool IsOwn(Graph graph, GraphNode node) => node.Op is Conv2dOp or LinearOp { Gelu: false, Residual: null }
        && node.Inputs.Skip(1).All(w => w.IsWeight && BatchNormFolding.Readers(graph, w) == 1);

    /// <summary>Columns of the second are rows of the first: without groups, or of each channel by itself.</summary>
    private static bool Fits(GraphNode first, GraphNode second)
    {
        Shape a = first.Operands[1]!.Shape, b = second.Operands[1]!.Shape;
        return b[1] == a[0] || (b[1] == 1 && b[0] == a[0]);
    }

    /// <param name="second">[outputs, channels, ..], or [channels, 1, ..] of a depthwise convolution.</param>
    /// <returns>By which share the factor that is furthest from 1 changed a channel.</returns>
    internal static double Equalise(Tensor first, Tensor? bias, Tensor second)
    {
        int channels = first.Shape[0], width = (int)(first.Length / channels);
        bool depthwise = second.Shape[1] == 1 && second.Shape[0] == channels;
        int outputs = depthwise ? 1 : second.Shape[0], taps = (int)(second.Length / ((long)outputs * channels));
        double most = 0;
        for (int c = 0; c < channels; c++)
        {
            Span<float> row = first.Span.Slice(c * width, width);
            double r1 = Largest(row), r2 = 0;
            for (int o = 0; o < outputs; o++) r2 = Math.Max(r2, Largest(second.Span.Slice((o * channels + c) * taps, taps)));
            if (r1 == 0 || r2 == 0) continue;
            double s = Math.Sqrt(r1 * r2) / r2;
            foreach (ref float w in row) w = (float)(w / s);
            if (bias is not null) bias.Span[c] = (float)(bias.Span[c] / s);
            for (int o = 0; o < outputs; o++)
                foreach (ref float w in second.Span.Slice((o * channels + c) * taps, taps)) w = (float)(w * s);
            most = Math.Max(most, Math.Abs(s - 1));
        }
        return most;
    }

    private static double Largest(ReadOnlySpan<float> values) =>
        Math.Abs(System.Numerics.Tensors.TensorPrimitives.MaxMagnitude(values));
}
