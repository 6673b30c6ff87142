using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>What the rows of an image have in common, on each of them.</summary>
internal static unsafe class RowMeans
{
    /// <summary>Writes the mean of some rows of x to some rows of y: zeros where there is nothing to take the mean of.</summary>
    /// <param name="x">[<paramref name="count"/>, width], rows <paramref name="ldx"/> floats apart.</param>
    /// <param name="y">[<paramref name="targets"/>, width], rows <paramref name="ldy"/> floats apart. It may be x.</param>
    /// <param name="divisor">What the sum is divided by.</param>
    /// <param name="accumulate">Whether it is added to what is there.</param>
    public static void Image(float* x, nint ldx, int count, int width, float* y, nint ldy, int targets, int divisor,
        bool accumulate = false)
    {
        var mean = new Span<float>(Scratch.Rent(width), width);
        mean.Clear();
        for (nint row = 0; row < count; row++) TensorPrimitives.Add(mean, new ReadOnlySpan<float>(x + row * ldx, width), mean);
        TensorPrimitives.Multiply(mean, 1f / Math.Max(1, divisor), mean);
        for (nint row = 0; row < targets; row++)
        {
            var to = new Span<float>(y + row * ldy, width);
            if (accumulate) TensorPrimitives.Add(to, mean, to);
            else mean.CopyTo(to);
        }
    }

    /// <summary>The first row of an image whose token is not below a number.</summary>
    public static int Behind(int* tokens, int first, int end, int prefix)
    {
        while (first < end && tokens[first] < prefix) first++;
        return first;
    }
}
