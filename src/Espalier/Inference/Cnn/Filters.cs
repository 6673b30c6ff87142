using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// The weights of a convolution or linear layer, and what has been folded into them. The weights themselves are not copied: all
/// changes are kept in lists of rows and columns until <see cref="Write"/>.
/// </summary>
internal sealed unsafe class Filters
{
    private readonly Tensor weight;
    private readonly int columns;
    private int[] rows;
    private double[] rowScales, bias;
    private int[]? columnOf;
    private double[]? columnScales;

    /// <param name="weight">[O, C/groups, kh, kw] or [O, C].</param>
    public Filters(Tensor weight, Tensor? bias, int groups)
    {
        (this.weight, Groups) = (weight, groups);
        columns = weight.Shape[1];
        Channels = columns * groups;
        (KernelHeight, KernelWidth) = weight.Rank == 4 ? (weight.Shape[2], weight.Shape[3]) : (1, 1);
        rows = [.. Enumerable.Range(0, weight.Shape[0])];
        rowScales = new double[rows.Length];
        Array.Fill(rowScales, 1);
        this.bias = new double[rows.Length];
        for (int o = 0; o < rows.Length && bias is not null; o++) this.bias[o] = bias.Data[o];
    }

    public int Groups { get; }

    public int KernelHeight { get; }

    public int KernelWidth { get; }

    public int Taps => KernelHeight * KernelWidth;

    /// <summary>Channels that are read.</summary>
    public int Channels { get; private set; }

    public int Outputs => rows.Length;

    /// <summary>Values that <see cref="Write"/> writes.</summary>
    public long Length => (long)Outputs * (Channels / Groups) * Taps;

    /// <summary>Each output o becomes scale[o] · y[o] + shift[o]; null for 1 and 0.</summary>
    public void ScaleOutputs(float[]? scale, float[]? shift)
    {
        for (int o = 0; o < Outputs; o++)
        {
            if (scale is not null)
            {
                rowScales[o] *= scale[o];
                bias[o] *= scale[o];
            }
            if (shift is not null) bias[o] += shift[o];
        }
    }

    /// <summary>Output k becomes output from[k], or nothing but its shift where that is negative.</summary>
    public void PickOutputs(ReadOnlySpan<int> from, float[]? shift)
    {
        int[] picked = new int[from.Length];
        double[] scales = new double[from.Length], biases = new double[from.Length];
        for (int k = 0; k < picked.Length; k++)
        {
            bool any = from[k] >= 0;
            picked[k] = any ? rows[from[k]] : -1;
            scales[k] = any ? rowScales[from[k]] : 0;
            biases[k] = (any ? bias[from[k]] : 0) + (shift?[k] ?? 0);
        }
        (rows, rowScales, bias) = (picked, scales, biases);
    }

    /// <summary>Reads other channels: of the new ones, number c is what was number was[c], or is not looked at where that is
    /// negative. Only without groups.</summary>
    public void ReadFrom(ReadOnlySpan<int> was)
    {
        int[] next = new int[was.Length];
        double[] scales = new double[was.Length];
        for (int c = 0; c < next.Length; c++)
        {
            next[c] = was[c] < 0 ? -1 : Column(was[c]);
            scales[c] = was[c] < 0 ? 0 : columnScales?[was[c]] ?? 1;
        }
        (columnOf, columnScales, Channels) = (next, scales, next.Length);
    }

    /// <summary>Reads scale[c] · x[c] + shift[c] from now on. Only without groups, and where no pixel lies outside.</summary>
    public void ScaleInputs(float[]? scale, float[]? shift)
    {
        if (shift is not null)
        {
            for (int o = 0; o < Outputs; o++)
            {
                double sum = 0;
                for (int c = 0; c < Channels; c++)
                    for (int t = 0; t < Taps; t++) sum += Value(o, c, t) * shift[c];
                bias[o] += sum;
            }
        }
        if (scale is null) return;
        columnScales ??= [.. Enumerable.Repeat(1.0, Channels)];
        for (int c = 0; c < Channels; c++) columnScales[c] *= scale[c];
    }

    /// <param name="target">[Outputs, Channels/Groups, kh, kw].</param>
    /// <param name="biases">[Outputs].</param>
    public void Write(float* target, float* biases)
    {
        int width = Channels / Groups;
        for (int o = 0; o < Outputs; o++)
        {
            biases[o] = (float)bias[o];
            for (int c = 0; c < width; c++, target += Taps) Copy(o, c, target);
        }
    }

    private void Copy(int output, int column, float* target)
    {
        int from = columnOf is null ? column : columnOf[column];
        if (rows[output] < 0 || from < 0)
        {
            new Span<float>(target, Taps).Clear();
            return;
        }
        double scale = rowScales[output] * (columnScales is null ? 1 : columnScales[column]);
        float* source = weight.Data + ((long)rows[output] * columns + from) * Taps;
        for (int t = 0; t < Taps; t++) target[t] = (float)(scale * source[t]);
    }

    private double Value(int output, int column, int tap)
    {
        int from = columnOf is null ? column : columnOf[column];
        if (rows[output] < 0 || from < 0) return 0;
        double scale = rowScales[output] * (columnScales is null ? 1 : columnScales[column]);
        return scale * weight.Data[((long)rows[output] * columns + from) * Taps + tap];
    }

    private int Column(int channel) => columnOf is null ? channel : columnOf[channel];
}
