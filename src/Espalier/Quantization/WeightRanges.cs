using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Quantization;

/// <summary>Ranges of a weight, whole or entry by entry along an axis.</summary>
internal static class WeightRanges
{
    /// <param name="axis">-1 for the whole weight.</param>
    /// <returns>For each entry its values and the least and largest of them.</returns>
    public static IEnumerable<(int Entry, float[] Values, float Min, float Max)> Of(Tensor weight, int axis)
    {
        int entries = axis < 0 ? 1 : weight.Shape[axis];
        for (int e = 0; e < entries; e++)
        {
            float[] values = Entry(weight, axis, e);
            yield return (e, values, values.Length == 0 ? 0 : TensorPrimitives.Min<float>(values),
                values.Length == 0 ? 0 : TensorPrimitives.Max<float>(values));
        }
    }

    /// <summary>The values of one entry along an axis, row-major.</summary>
    public static float[] Entry(Tensor weight, int axis, int entry)
    {
        if (axis < 0) return weight.ToArray();
        int inner = 1, extent = weight.Shape[axis];
        for (int i = axis + 1; i < weight.Rank; i++) inner *= weight.Shape[i];
        int outer = (int)(weight.Length / Math.Max(1, (long)inner * extent));
        var values = new float[outer * inner];
        for (int o = 0; o < outer; o++)
            weight.Span.Slice((o * extent + entry) * inner, inner).CopyTo(values.AsSpan(o * inner));
        return values;
    }
}
