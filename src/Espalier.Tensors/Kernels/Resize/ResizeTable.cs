namespace Espalier.Tensors.Kernels;

/// <summary>
/// One axis of a resize as a sparse matrix: output i is the sum of Weight[i·Taps + t] times input Index[i·Taps + t].
/// </summary>
internal sealed class ResizeTable
{
    private ResizeTable(int inputs, int outputs, int taps)
    {
        (Inputs, Outputs, Taps) = (inputs, outputs, taps);
        Index = new int[outputs * taps];
        Weight = new float[outputs * taps];
    }

    public int Inputs { get; }

    public int Outputs { get; }

    public int Taps { get; }

    public int[] Index { get; }

    public float[] Weight { get; }

    /// <summary>Point sampling, as <c>interpolate</c> without antialias.</summary>
    public static ResizeTable Create(int inputs, int outputs, ResizeMode mode)
    {
        double scale = (double)inputs / outputs;
        if (mode == ResizeMode.Bicubic) return Cubic(inputs, outputs, scale, scale / 2 - 0.5);
        var table = new ResizeTable(inputs, outputs, mode == ResizeMode.Nearest ? 1 : 2);
        for (int i = 0; i < outputs; i++)
        {
            switch (mode)
            {
                case ResizeMode.Nearest:
                    // In single precision, like PyTorch: exact multiples can round down to the neighbour before.
                    table.Set(i, 0, (int)(i * ((float)inputs / outputs)), 1);
                    break;
                case ResizeMode.Bilinear:
                    table.Linear(i, Math.Max(0, (i + 0.5) * scale - 0.5));
                    break;
                case ResizeMode.BilinearAlignCorners:
                    table.Linear(i, outputs > 1 ? i * (double)(inputs - 1) / (outputs - 1) : 0);
                    break;
                default:
                    throw new ArgumentOutOfRangeException(nameof(mode));
            }
        }
        return table;
    }

    /// <summary>Cubic convolution with a = -0.75 over four neighbours: output i is at i · scale + shift of the inputs.</summary>
    public static ResizeTable Cubic(int inputs, int outputs, double scale, double shift)
    {
        var table = new ResizeTable(inputs, outputs, taps: 4);
        for (int i = 0; i < outputs; i++)
        {
            double at = i * scale + shift, floor = Math.Floor(at);
            for (int t = 0; t < 4; t++) table.Set(i, t, (int)floor + t - 1, Cubic(at - floor - (t - 1), -0.75));
        }
        return table;
    }

    /// <summary>
    /// Cubic convolution with a = -0.5 whose kernel widens with the shrinking factor, weights normalised: <c>interpolate</c> with
    /// mode bicubic and antialias, and Pillow's BICUBIC.
    /// </summary>
    public static ResizeTable AntialiasedBicubic(int inputs, int outputs)
    {
        double scale = (double)inputs / outputs, stretch = Math.Max(scale, 1), support = 2 * stretch;
        var table = new ResizeTable(inputs, outputs, Math.Min(inputs, (int)Math.Ceiling(support) * 2 + 1));
        for (int i = 0; i < outputs; i++)
        {
            double centre = (i + 0.5) * scale, sum = 0;
            int first = Math.Max((int)(centre - support + 0.5), 0), end = Math.Min((int)(centre + support + 0.5), inputs);
            for (int j = first; j < end; j++) sum += Cubic((j + 0.5 - centre) / stretch, -0.5);
            for (int t = 0; t < table.Taps; t++)
                table.Set(i, t, first + t, first + t < end ? Cubic((first + t + 0.5 - centre) / stretch, -0.5) / sum : 0);
        }
        return table;
    }

    private void Linear(int output, double at)
    {
        int low = Math.Min((int)at, Inputs - 1);
        Set(output, 0, low, 1 - (at - low));
        Set(output, 1, low + 1, at - low);
    }

    // Points outside take the border's value.
    private void Set(int output, int tap, int input, double weight)
    {
        Index[output * Taps + tap] = Math.Clamp(input, 0, Inputs - 1);
        Weight[output * Taps + tap] = (float)weight;
    }

    private static double Cubic(double x, double a)
    {
        x = Math.Abs(x);
        if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
        return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    }
}
