using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Convolutions of volumes [N, C, D, H, W]: for each depth of the kernel a convolution of the maps [N D', C, H, W] that it
/// meets, added up.
/// </summary>
internal static class OnnxReadVolumes
{
    private const int MostDepth = 64;

    /// <param name="weight">[O, C/groups, kd, kh, kw], a constant.</param>
    public static OnnxOperand Conv(OnnxReadCall call, OnnxOperand x, OnnxOperand weight, OnnxOperand? bias)
    {
        if (!weight.IsConstant) throw new InvalidDataException("its weight is computed by the network; only a constant is read there");
        int[] w = weight.Dims;
        OnnxSlide[] slides = OnnxSlide.Of(call.Node, x.Dims[2..], w[2..]);
        var (depth, rows, columns) = (slides[0], slides[1], slides[2]);
        if (rows.Dilation != columns.Dilation) throw new InvalidDataException("its dilations differ between rows and columns");
        OpSettings settings = new OpSettings().Set("stride", new Strides(rows.Stride, columns.Stride))
            .Set("dilation", rows.Dilation)
            .Set("padding", new Padding(rows.Before, rows.After, columns.Before, columns.After));
        int taps = w[3] * w[4], planes = w[0] * w[1];
        OnnxOperand Plane(int k) => call.Emit.Weight(weight, $"depth.{k}", [w[0], w[1], w[3], w[4]], to =>
        {
            var all = new float[planes * w[2] * taps];
            OnnxEmitter.Read(weight, all);
            for (int p = 0; p < planes; p++) all.AsSpan((p * w[2] + k) * taps, taps).CopyTo(to[(p * taps)..]);
        });
        return Sum(call, x, depth, Plane, bias, settings);
    }

    /// <param name="plane">The weight [O, C/groups, kh, kw] at a depth of the kernel.</param>
    /// <param name="settings">Of the convolutions of maps.</param>
    public static OnnxOperand Sum(OnnxReadCall call, OnnxOperand x, OnnxSlide depth, Func<int, OnnxOperand> plane,
        OnnxOperand? bias,
        OpSettings settings)
    {
        OnnxEmitter emit = call.Emit;
        if (depth.Kernel > MostDepth || depth.Places is < 1 or > 1 << 16)
            throw new InvalidDataException($"its kernel is {depth.Kernel} deep, in {depth.Places} places; up to {MostDepth} are read");
        OnnxOperand? sum = null;
        for (int k = 0; k < depth.Kernel; k++)
        {
            int[] list = [.. Enumerable.Range(0, depth.Places)
                .Select(i => depth.At(i, k) is var at && at >= 0 && at < depth.Length ? at : -1)];
            if (list.All(at => at < 0)) continue;
            int[][] two = OnnxMoves.Whole(x.Dims), three = OnnxMoves.Whole(x.DimsOfThree);
            two[2] = three[2] = list;
            OnnxOperand maps = emit.Permute(OnnxReadMoves.Take(call, x, two, three), 0, 2, 1, 3, 4);
            maps = emit.Reshape(maps, Joined(maps.Dims), Joined(maps.DimsOfThree));
            OnnxOperand part = emit.Node("Conv2d", settings, maps, plane(k), sum is null ? bias : null);
            sum = sum is null ? part : call.Make("Add", sum, part);
        }
        if (sum is null) throw new InvalidDataException("its kernel meets nothing but its borders");
        int[] Apart(int[] y) => [y[0] / depth.Places, depth.Places, .. y[1..]];
        return emit.Permute(emit.Reshape(sum, Apart(sum.Dims), Apart(sum.DimsOfThree)), 0, 2, 1, 3, 4);
    }

    private static int[] Joined(int[] maps) => [maps[0] * maps[1], .. maps[2..]];
}
