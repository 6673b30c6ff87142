namespace Espalier.Onnx;

/// <summary>
/// Values of maps between their pixels, at the points of a grid [N, H', W', 2] of x and y from -1 to 1 that is a constant and
/// the same for every image: a sum of a few pixels for each point, by lists of places and their shares.
/// </summary>
internal static class OnnxReadGrid
{
    public static OnnxOperand Sample(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        OnnxArray grid = call.OfEachImage(1);
        if (grid.Dims is not [1, _, _, 2]) throw new InvalidDataException($"its grid is [{string.Join(",", grid.Dims)}]");
        if (x.Rank != 4) throw new InvalidDataException($"x has {x.Rank} axes; maps [N, C, H, W] are read");
        int height = x.Dims[2], width = x.Dims[3], rows = grid.Dims[1], columns = grid.Dims[2], points = rows * columns;
        bool aligned = call.Node.Int("align_corners", 0) != 0;
        string mode = call.Node.Text("mode", "bilinear"), border = call.Node.Text("padding_mode", "zeros");
        (int[] Offsets, Func<double, double, double> Share) rule = mode switch
        {
            "nearest" => ([0], (_, _) => 1),
            "bilinear" or "linear" => ([0, 1], (d, _) => 1 - Math.Abs(d)),
            "bicubic" or "cubic" => ([-1, 0, 1, 2], (d, _) => Cubic(Math.Abs(d))),
            _ => throw new InvalidDataException($"its mode is {Formats.ReadGuard.Quote(mode)}"),
        };
        double[] xs = Places(0, width), ys = Places(1, height);
        OnnxOperand flat = call.Emit.Reshape(x, [x.Dims[0] * x.Dims[1], height * width],
            [x.DimsOfThree[0] * x.DimsOfThree[1], height * width]);
        OnnxOperand? sum = null;
        foreach (int dy in rule.Offsets)
            foreach (int dx in rule.Offsets)
            {
                int[] places = new int[points];
                double[] shares = new double[points];
                for (int p = 0; p < points; p++)
                {
                    int left = First(xs[p]) + dx, top = First(ys[p]) + dy;
                    shares[p] = rule.Share(xs[p] - left, 0) * rule.Share(ys[p] - top, 0);
                    int column = Inside(left, width, border, aligned), row = Inside(top, height, border, aligned);
                    places[p] = column < 0 || row < 0 ? -1 : row * width + column;
                }
                if (places.All(p => p < 0)) continue;
                OnnxOperand part = call.Make("Mul", call.Emit.Pick(flat, places, [points]),
                    call.Emit.Made([points], p => shares[p]));
                sum = sum is null ? part : call.Make("Add", sum, part);
            }
        sum ??= call.Emit.Affine(call.Emit.Pick(flat, new int[points], [points]), 0, 0);
        return call.Emit.Reshape(sum, [x.Dims[0], x.Dims[1], rows, columns], [x.DimsOfThree[0], x.DimsOfThree[1], rows, columns]);

        // The pixel that offsets count from.
        int First(double at) => (int)(mode == "nearest" ? Math.Round(at, MidpointRounding.ToEven) : Math.Floor(at));

        double[] Places(int which, int length) => [.. Enumerable.Range(0, points).Select(p =>
        {
            double at = grid.Values[2 * p + which];
            at = aligned ? (at + 1) / 2 * (length - 1) : ((at + 1) * length - 1) / 2;
            if (double.IsNaN(at) || Math.Abs(at) > 1 << 24) throw new InvalidDataException("its grid has points far from the map");
            return Point(at, length, border, aligned, mode is "bicubic" or "cubic");
        })];
    }

    /// <summary>Where a point beside the map is looked for instead.</summary>
    private static double Point(double at, int length, string border, bool aligned, bool cubic) => border switch
    {
        "zeros" => at,
        "border" or "reflection" when cubic => at,          // of which each pixel is looked for by itself
        "border" => Math.Clamp(at, 0, length - 1),
        "reflection" => Math.Clamp(Reflected(at, length, aligned), 0, length - 1),
        _ => throw new InvalidDataException($"its padding_mode is {Formats.ReadGuard.Quote(border)}"),
    };

    /// <summary>The pixel that stands for one beside the map; -1 for none.</summary>
    private static int Inside(int at, int length, string border, bool aligned) => at >= 0 && at < length ? at
        : border == "zeros" ? -1 : (int)Point(at, length, border, aligned, cubic: false);

    /// <summary>Mirrored at the first and last pixel, at their middle where corners are aligned, else at their edge.</summary>
    private static double Reflected(double at, int length, bool aligned)
    {
        double low = aligned ? 0 : -0.5, span = aligned ? length - 1 : length;
        if (span == 0) return 0;
        double far = Math.Abs(at - low), rest = far % span;
        return low + (Math.Floor(far / span) % 2 == 0 ? rest : span - rest);
    }

    /// <summary>Keys' kernel with a = -0.75.</summary>
    private static double Cubic(double d) => d <= 1 ? (1.25 * d - 2.25) * d * d + 1
        : d < 2 ? ((-0.75 * d + 3.75) * d - 6) * d + 3 : 0;
}
