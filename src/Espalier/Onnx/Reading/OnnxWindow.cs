using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>How a kernel slides along one axis, for convolutions and pools.</summary>
/// <param name="Before">Entries of the border in front.</param>
/// <param name="Extra">Entries that only ceil_mode adds at the end.</param>
internal readonly record struct OnnxSlide(int Length, int Kernel, int Stride, int Dilation, int Before, int After, int Extra)
{
    private const int Largest = 1 << 20;

    /// <summary>How many places there are for the kernel.</summary>
    public int Places => Length + (long)Before + After + Extra - Reach(Kernel, Dilation) is >= 0 and var room
        ? (int)Math.Min(room / Stride + 1, int.MaxValue) : 0;

    /// <summary>Which entry the kernel's k-th one meets in its i-th place; in the border below 0, or from the length
    /// on.</summary>
    public int At(int i, int k) => i * Stride - Before + k * Dilation;

    /// <param name="size">Lengths of the axes behind images and channels.</param>
    public static OnnxSlide[] Of(OnnxNodeView node, int[] size, int[] kernel)
    {
        int axes = size.Length;
        if (kernel.Length != axes || kernel.Any(k => k is < 1 or > Largest))
            throw new InvalidDataException($"a kernel [{string.Join(",", kernel)}] on {axes + 2} axes");
        int[] strides = Numbers("strides", axes, 1), dilations = Numbers("dilations", axes, 1),
            pads = Numbers("pads", 2 * axes, 0);
        string auto = node.Text("auto_pad", "NOTSET");
        if (auto is not ("NOTSET" or "VALID" or "SAME_UPPER" or "SAME_LOWER"))
            throw new InvalidDataException($"its auto_pad is {Formats.ReadGuard.Quote(auto)}");
        if (auto == "VALID") Array.Clear(pads);
        var slides = new OnnxSlide[axes];
        for (int i = 0; i < axes; i++)
        {
            if (strides[i] < 1 || dilations[i] < 1) throw new InvalidDataException("its strides or dilations are below 1");
            long reach = Reach(kernel[i], dilations[i]);
            if (auto.StartsWith("SAME", StringComparison.Ordinal))
            {
                int total = (int)Math.Clamp((((long)size[i] + strides[i] - 1) / strides[i] - 1) * strides[i] + reach - size[i],
                    0, Largest);
                pads[i] = auto == "SAME_UPPER" ? total / 2 : total - total / 2;
                pads[i + axes] = total - pads[i];
            }
            int extra = 0;
            if (node.Int("ceil_mode", 0) != 0)
            {
                long room = size[i] + pads[i] + pads[i + axes] - reach, steps = (room + strides[i] - 1) / strides[i];
                // A window must begin before the border behind the map.
                if (steps * strides[i] >= (long)size[i] + pads[i]) steps--;
                extra = (int)Math.Clamp(steps * strides[i] - room, 0, Largest);
            }
            slides[i] = new OnnxSlide(size[i], kernel[i], strides[i], dilations[i], pads[i], pads[i + axes], extra);
        }
        return slides;

        int[] Numbers(string name, int count, int otherwise) => node.Ints(name) is not { } list
            ? [.. Enumerable.Repeat(otherwise, count)]
            : list.Length == count && list.All(n => Math.Abs((long)n) <= Largest) ? list
            : throw new InvalidDataException($"its attribute '{name}' is [{string.Join(",", list)}]");
    }

    private static long Reach(int kernel, int dilation) => (long)dilation * (kernel - 1) + 1;
}

/// <summary>How a kernel slides over maps or lines, as the graph's ops say it: one dilation for rows and columns.</summary>
/// <param name="Extra">Rows and columns that only ceil_mode adds at the end.</param>
internal sealed record OnnxWindow(Strides Stride, int Dilation, Padding Padding, (int Rows, int Columns) Extra)
{
    /// <param name="size">H and W of the map, or the length of a line.</param>
    public static OnnxWindow Of(OnnxNodeView node, int[] size, int[] kernel)
    {
        OnnxSlide[] s = OnnxSlide.Of(node, size, kernel);
        if (s is [var line]) return new OnnxWindow(line.Stride, line.Dilation,
            new Padding(0, 0, line.Before, line.After), (0, line.Extra));
        return s[0].Dilation != s[1].Dilation
            ? throw new InvalidDataException($"its dilations [{s[0].Dilation},{s[1].Dilation}] differ between rows and columns")
            : new OnnxWindow(new Strides(s[0].Stride, s[1].Stride), s[0].Dilation,
                new Padding(s[0].Before, s[0].After, s[1].Before, s[1].After), (s[0].Extra, s[1].Extra));
    }
}
