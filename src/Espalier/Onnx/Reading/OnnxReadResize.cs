using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Resizing. What PyTorch's modes are becomes that op; nearest neighbours a list of places; any other mode is a product with a
/// matrix along each axis, which it is.
/// </summary>
internal static class OnnxReadResize
{
    public static OnnxOperand Read(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        var rule = OnnxResizeRule.Of(call, x.Rank);
        (int[] two, double[] scales) = Target(call, x, x.Dims);
        for (int i = 0; i < two.Length; i++)
            if (two[i] is < 1 or > 1 << 16) throw new InvalidDataException($"it resizes to [{string.Join(",", two)}]");
        int[] axes = [.. Enumerable.Range(0, x.Rank).Where(i => two[i] != x.Dims[i] || scales[i] != 1 || rule.Crops(i))];
        if (axes.Any(a => x.Dims[a] != x.DimsOfThree[a])) throw new InvalidDataException("it resizes the axis of images");
        if (axes.Length == 0) return x;
        if (x.Rank == 4 && axes.All(a => a >= 2) && rule.Mode is { } mode
            && axes.All(a => Math.Abs(scales[a] * x.Dims[a] - two[a]) < 1e-3))
            return call.Emit.Node("Interpolate", new OpSettings().Set("height", two[2]).Set("width", two[3]).Set("mode", mode),
                x);
        if (rule.IsNearest)
        {
            (int[][] lists, int[][] three) = (OnnxMoves.Whole(x.Dims), OnnxMoves.Whole(x.DimsOfThree));
            foreach (int axis in axes) lists[axis] = three[axis] = rule.Nearest(axis, x.Dims[axis], two[axis], scales[axis]);
            return OnnxReadMoves.Take(call, x, lists, three, rule.Outside);
        }
        int[] old = x.Dims;
        foreach (int axis in axes)
        {
            double[] matrix = rule.Matrix(axis, old[axis], two[axis], scales[axis]);
            x = Along(call, x, axis, call.Emit.Made([two[axis], old[axis]], i => matrix[i]));
        }
        if (rule.Outside == 0) return x;
        // What lies outside along any axis is a constant.
        foreach (int axis in axes)
        {
            OnnxOperand outside = call.Emit.Made([two[axis], .. Enumerable.Repeat(1, x.Rank - 1 - axis)],
                i => rule.IsOutside(axis, i, old[axis], two[axis], scales[axis]) ? 1 : 0);
            x = OnnxReadCall.Typed(call.Make("Where", outside, call.Emit.Made([1], _ => rule.Outside), x), x.Type);
        }
        return x;
    }

    /// <summary>A product with a matrix [new, old] along one axis.</summary>
    public static OnnxOperand Along(OnnxReadCall call, OnnxOperand x, int axis, OnnxOperand matrix)
    {
        int[] order = [.. Enumerable.Range(0, x.Rank)];
        (order[axis], order[^1]) = (order[^1], order[axis]);
        return call.Emit.Permute(OnnxReadProducts.Linear(call.Emit, call.Emit.Permute(x, order), matrix, null), order);
    }

    /// <summary>The new length of each axis, and by what the old one is multiplied.</summary>
    private static (int[] Dims, double[] Scales) Target(OnnxReadCall call, OnnxOperand x, int[] dims)
    {
        bool old = call.Node.Operator == "Upsample" || call.Node.Opset < 11;
        double[]? scales = old && call.Node.Floats("scales") is { } list ? [.. list.Select(s => (double)s)]
            : call.Two(old ? 1 : 2) is { Values.Length: > 0 } given ? given.Values : null;
        OnnxArray? sizes = old ? null : call.Two(3);
        int[] along = call.Node.Ints("axes") is { } named ? [.. named.Select(a => OnnxArray.Axis(a, x.Rank))]
            : [.. Enumerable.Range(0, x.Rank)];
        int[] target = [.. dims];
        double[] factors = [.. dims.Select(_ => 1.0)];
        OnnxArray.RequireAxes(along.Length);
        if ((scales?.Length ?? sizes?.Values.Length) != along.Length)
            throw new InvalidDataException("its sizes or scales do not fit the axes");
        if (call.Node.Text("keep_aspect_ratio_policy", "stretch") != "stretch")
            throw new InvalidDataException("it keeps the aspect ratio");
        int[] lengths = sizes?.Ints() ?? [];
        for (int i = 0; i < along.Length; i++)
        {
            int axis = along[i];
            target[axis] = scales is not null ? (int)Math.Floor(Math.Clamp((float)(dims[axis] * scales[i]), 0, 1 << 20))
                : lengths[i];
            factors[axis] = scales?[i] ?? target[axis] / (double)dims[axis];
            // A size that was written for a certain number of images.
            if (scales is null && axis == 0 && target[0] == call.FixedImages) (target[0], factors[0]) = (dims[0], 1);
        }
        return (target, factors);
    }
}

/// <summary>How numbers between the old ones are found: the attributes of Resize.</summary>
internal sealed record OnnxResizeRule(string Kind, string Coordinates, string Rounding, double Cubic, bool ExcludesOutside,
    float Outside,
    double[] Roi, bool IsAntialiased, int Rank)
{
    public bool IsNearest => Kind == "nearest";

    /// <summary>Whether an axis is cut: all of one is from 0 to 1.</summary>
    public bool Crops(int axis) => Coordinates == "tf_crop_and_resize"
        && !(Roi.Length == 2 * Rank && Roi[axis] == 0 && Roi[axis + Rank] == 1);

    /// <summary>The op's mode that is the same; null where there is none.</summary>
    public ResizeMode? Mode => IsAntialiased ? null : (Kind, Coordinates) switch
    {
        ("nearest", "asymmetric") when Rounding == "floor" => ResizeMode.Nearest,
        ("linear", "half_pixel") => ResizeMode.Bilinear,
        ("linear", "align_corners") => ResizeMode.BilinearAlignCorners,
        ("cubic", "half_pixel") when Cubic == -0.75 && !ExcludesOutside => ResizeMode.Bicubic,
        _ => null,
    };

    public static OnnxResizeRule Of(OnnxReadCall call, int rank)
    {
        OnnxNodeView node = call.Node;
        bool old = node.Operator == "Upsample" || node.Opset < 11;
        string kind = node.Text("mode", "nearest") is "bilinear" ? "linear" : node.Text("mode", "nearest");
        if (kind is not ("nearest" or "linear" or "cubic"))
            throw new InvalidDataException($"its mode is {Formats.ReadGuard.Quote(kind)}");
        return new OnnxResizeRule(kind, old ? "asymmetric" : node.Text("coordinate_transformation_mode", "half_pixel"),
            old ? "floor" : node.Text("nearest_mode", "round_prefer_floor"), node.Float("cubic_coeff_a", -0.75f),
            node.Int("exclude_outside", 0) != 0,
            node.Float("extrapolation_value", 0), old ? [] : call.Fixed(1)?.Values ?? [], node.Int("antialias", 0) != 0, rank);
    }

    /// <summary>Which old entry each new one is; -1 outside of what is cropped.</summary>
    public int[] Nearest(int axis, int from, int to, double scale) => [.. Enumerable.Range(0, to).Select(i =>
    {
        double at = Place(axis, i, from, to, scale);
        if (IsOutside(axis, i, from, to, scale)) return -1;
        double place = Rounding switch
        {
            "floor" => Math.Floor(at), "ceil" => Math.Ceiling(at), "round_prefer_ceil" => Math.Floor(at + 0.5),
            "round_prefer_floor" => Math.Ceiling(at - 0.5),
            _ => throw new InvalidDataException($"its nearest_mode is {Formats.ReadGuard.Quote(Rounding)}"),
        };
        return (int)Math.Clamp(place, 0, from - 1);
    })];

    /// <summary>Whether a new entry is outside of what is cropped.</summary>
    public bool IsOutside(int axis, int i, int from, int to, double scale) =>
        Crops(axis) && Place(axis, i, from, to, scale) is var at && (at < 0 || at > from - 1);

    /// <summary>[to, from] shares of the old entries in each new one.</summary>
    public double[] Matrix(int axis, int from, int to, double scale)
    {
        var matrix = new double[OnnxArray.Count([to, from])];
        double width = IsAntialiased ? Math.Max(1, 1 / scale) : 1;
        int reach = (int)Math.Ceiling((Kind == "cubic" ? 2 : 1) * width);
        for (int i = 0; i < to; i++)
        {
            double at = Place(axis, i, from, to, scale), sum = 0;
            if (IsOutside(axis, i, from, to, scale)) continue;
            int first = (int)Math.Floor(at) - reach + 1;
            for (int k = first; k < first + 2 * reach; k++)
            {
                double share = Share((at - k) / width);
                if (ExcludesOutside && (k < 0 || k >= from)) continue;
                matrix[i * from + Math.Clamp(k, 0, from - 1)] += share;
                sum += share;
            }
            if (ExcludesOutside || IsAntialiased) for (int k = 0; k < from; k++) matrix[i * from + k] /= sum;
        }
        return matrix;
    }

    private double Share(double distance)
    {
        double d = Math.Abs(distance);
        if (Kind == "linear") return Math.Max(0, 1 - d);
        if (d >= 2) return 0;
        return d <= 1 ? ((Cubic + 2) * d - (Cubic + 3)) * d * d + 1 : ((Cubic * d - 5 * Cubic) * d + 8 * Cubic) * d - 4 * Cubic;
    }

    private double Place(int axis, int i, int from, int to, double scale) => Coordinates switch
    {
        "half_pixel" => (i + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => from / 2.0 * (1 - to / (scale * from)) + (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => to > 1 ? (i + 0.5) / scale - 0.5 : 0,
        "align_corners" => to > 1 ? i * (from - 1.0) / (scale * from - 1) : 0,
        "asymmetric" => i / scale,
        "tf_half_pixel_for_nn" => (i + 0.5) / scale,
        "tf_crop_and_resize" when Roi.Length == 2 * Rank => to > 1
            ? Roi[axis] * (from - 1) + i * (Roi[axis + Rank] - Roi[axis]) * (from - 1) / (to - 1)
            : 0.5 * (Roi[axis] + Roi[axis + Rank]) * (from - 1),
        _ => throw new InvalidDataException($"its coordinate_transformation_mode is {Formats.ReadGuard.Quote(Coordinates)}"),
    };
}
