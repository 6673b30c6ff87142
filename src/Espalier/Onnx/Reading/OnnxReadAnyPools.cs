using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Pools whose windows the graph's ops do not have: oblong, dilated, of lines and of volumes. A window is a product of one along
/// each axis, so the largest or mean value is found along one axis after another.
/// </summary>
internal static class OnnxReadAnyPools
{
    /// <summary>Entries that are compared one after another.</summary>
    private const int Most = 128;

    /// <summary>Entries that a window meets along an axis, in all its places.</summary>
    private const long MostMet = 1 << 20;

    public static OnnxOperand Max(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        OnnxSlide[] slides = Slides(call);
        if (slides.Any(s => s.Kernel > Most)) throw new InvalidDataException($"its window is larger than {Most}");
        for (int axis = 0; axis < slides.Length; axis++) x = Along(call, x, axis + 2, slides[axis]);
        return x;
    }

    /// <summary>A mean along an axis is a product with a matrix of shares.</summary>
    public static OnnxOperand Average(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        OnnxSlide[] slides = Slides(call);
        bool border = call.Node.Int("count_include_pad", 0) != 0;
        for (int axis = 0; axis < slides.Length; axis++)
        {
            OnnxSlide s = slides[axis];
            // What ceil_mode adds is never counted.
            int first = border ? -s.Before : 0, end = border ? s.Length + s.After : s.Length;
            int[] counts = [.. Enumerable.Range(0, s.Places).Select(i => Enumerable.Range(0, s.Kernel)
                .Count(k => s.At(i, k) >= first && s.At(i, k) < end))];
            double Share(int i, int entry)
            {
                int far = entry - s.At(i, 0);
                return far >= 0 && far % s.Dilation == 0 && far / s.Dilation < s.Kernel ? 1.0 / counts[i] : 0;
            }
            if (s.Kernel > 1 || s.Stride > 1 || s.Places != s.Length)
                x = OnnxReadResize.Along(call, x, axis + 2,
                    call.Emit.Made([s.Places, s.Length], i => Share(i / s.Length, i % s.Length)));
        }
        return x;
    }

    private static OnnxSlide[] Slides(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int[] kernel = call.Node.Ints("kernel_shape") ?? throw new InvalidDataException("it has no kernel_shape");
        if (x.Rank < 3) throw new InvalidDataException($"x has {x.Rank} axes, none for a window");
        OnnxSlide[] slides = OnnxSlide.Of(call.Node, x.Dims[2..], kernel);
        return slides.All(s => s.Places >= 1 && (long)s.Places * s.Kernel <= MostMet) ? slides
            : throw new InvalidDataException("its window does not fit x, or is far larger than any network's");
    }

    /// <summary>The largest of the entries that each place of the window meets, as many as it is long.</summary>
    private static OnnxOperand Along(OnnxReadCall call, OnnxOperand x, int axis, OnnxSlide s)
    {
        OnnxOperand? most = null;
        for (int k = 0; k < s.Kernel; k++)
        {
            int[][] two = OnnxMoves.Whole(x.Dims), three = OnnxMoves.Whole(x.DimsOfThree);
            two[axis] = three[axis] = [.. Enumerable.Range(0, s.Places).Select(i => Met(s, i, k))];
            OnnxOperand taken = OnnxReadMoves.Take(call, x, two, three);
            most = most is null ? taken : call.Emit.Pair(PairFunction.Max, most, taken);
        }
        return most!;
    }

    /// <summary>In a border stands another entry of the same window: it may be compared twice.</summary>
    private static int Met(OnnxSlide s, int i, int k)
    {
        int at = s.At(i, k);
        if (at >= 0 && at < s.Length) return at;
        for (int other = 0; other < s.Kernel; other++)
            if (s.At(i, other) is var there && there >= 0 && there < s.Length) return there;
        throw new InvalidDataException("its window lies beside x");
    }
}
