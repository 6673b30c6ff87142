using System.Numerics.Tensors;

namespace Espalier.Tensors;

public static partial class F
{
    /// <summary>Where each row's largest value is, the first of several. x [.., K] -> one index a row. Not recorded.</summary>
    public static unsafe int[] ArgMax(Tensor x)
    {
        if (x.Rank == 0 || x.Shape[-1] == 0) throw new ArgumentException($"ArgMax: x {x.Shape} has no last axis to go over");
        int width = x.Shape[-1];
        var index = new int[x.Length / width];
        for (int row = 0; row < index.Length; row++)
            index[row] = TensorPrimitives.IndexOfMax(new ReadOnlySpan<float>(x.Data + (long)row * width, width));
        return index;
    }
}
