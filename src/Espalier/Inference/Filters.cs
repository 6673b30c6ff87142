using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <summary>
/// The weights of a convolution or linear layer, or of several that were stacked, and what has been folded into them. The weights
/// themselves are not copied: all changes are kept in lists of rows and columns until <see cref="Write"/>.
/// </summary>
internal sealed unsafe class Filters
{
    private readonly Weight[] weights;
    private readonly int columns;
    private int[] rows;
    private double[] rowScales, bias;
    private int[]? columnOf;
    private double[]? columnScales;
    private float[]? codes;
    private Filters? before;

    /// <param name="weight">[O, C/groups, kh, kw] or [O, C].</param>
    public Filters(Weight weight, float[]? bias, int groups) : this([weight], groups)
    {
        for (int o = 0; o < rows.Length && bias is not null; o++) this.bias[o] = bias[o];
    }

    private Filters(Weight[] weights, int groups)
    {
        Shape shape = weights[0].Shape;
        (this.weights, Groups, columns) = (weights, groups, shape[1]);
        Channels = columns * groups;
        (KernelHeight, KernelWidth) = shape.Rank == 4 ? (shape[2], shape[3]) : (1, 1);
        rows = [.. Enumerable.Range(0, weights.Sum(w => w.Shape[0]))];
        rowScales = new double[rows.Length];
        Array.Fill(rowScales, 1);
        bias = new double[rows.Length];
    }

    /// <summary>The outputs of several products of one input, one after another.</summary>
    public static Filters Stacked(IReadOnlyList<Filters> parts)
    {
        var all = new Filters([.. parts.SelectMany(p => p.weights)], groups: 1);
        int first = 0;
        all.rows = [.. parts.SelectMany(p =>
        {
            int start = first;
            first += p.weights.Sum(w => w.Shape[0]);
            return p.rows.Select(r => r < 0 ? r : start + r).ToArray();
        })];
        all.rowScales = [.. parts.SelectMany(p => p.rowScales)];
        all.bias = [.. parts.SelectMany(p => p.bias)];
        if (parts.All(p => p.codes is not null)) all.codes = [.. parts.SelectMany(p => p.codes!)];
        return all;
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

    /// <summary>Whether all channels are read as they are.</summary>
    public bool ReadsAll => columnOf is null && columnScales is null;

    private bool IsPlain
    {
        get
        {
            if (!ReadsAll || rows.Length != weights.Sum(w => w.Shape[0])) return false;
            for (int o = 0; o < rows.Length; o++) if (rows[o] != o || rowScales[o] != 1) return false;
            return true;
        }
    }

    /// <summary>Of weights that are codes: the scale of each row, or of all.</summary>
    public void SetCodes(float[] scales) =>
        codes = scales.Length == 1 ? [.. Enumerable.Repeat(scales[0], weights.Sum(w => w.Shape[0]))] : scales;

    /// <summary>Whether the weights still are codes, whatever has been folded into them.</summary>
    public bool AreCodes => codes is not null && before is null && Array.TrueForAll(rowScales, s => s != 0)
        && (columnScales is null || Array.TrueForAll(columnScales, s => s is 0 or 1));

    /// <summary>The largest bias of a product of codes, in units of its sums.</summary>
    public const int MostBias = 1 << 30;

    /// <summary>Whether the biases are whole numbers of the sums' units that fit; of codes only.</summary>
    /// <param name="scale">Of the codes that are read.</param>
    public bool BiasesFit(float scale)
    {
        for (int o = 0; o < Outputs; o++)
            if (rows[o] >= 0 && Math.Abs(bias[o]) > MostBias * Math.Abs(codes![rows[o]] * rowScales[o] * scale)) return false;
        return true;
    }

    /// <summary>Writes the codes of the weights, what a unit of each output's stands for, and biases.</summary>
    /// <param name="target">[Outputs, Channels/Groups, kh, kw].</param>
    /// <param name="floats">Room for as many floats.</param>
    /// <param name="scales">[Outputs]; likewise biases.</param>
    public void WriteCodes(sbyte* target, float* floats, float* scales, float* biases)
    {
        Write(floats, biases);
        nint length = (nint)(Length / Outputs);
        for (int o = 0; o < Outputs; o++)
        {
            float scale = scales[o] = rows[o] < 0 ? 1 : (float)(codes![rows[o]] * rowScales[o]);
            for (nint i = o * length; i < (o + 1) * length; i++)
                target[i] = (sbyte)Math.Clamp(MathF.Round(floats[i] / scale), sbyte.MinValue, sbyte.MaxValue);
        }
    }

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
            Visit((o, address) =>
            {
                var values = (float*)address;
                double sum = 0;
                for (int c = 0; c < Channels; c++)
                {
                    int from = Column(c);
                    if (from < 0) continue;
                    double factor = (columnScales?[c] ?? 1) * shift[c];
                    for (int t = 0; t < Taps; t++) sum += factor * values[(nint)from * Taps + t];
                }
                bias[o] += rowScales[o] * sum;
            });
        }
        if (scale is null) return;
        columnScales ??= [.. Enumerable.Repeat(1.0, Channels)];
        for (int c = 0; c < Channels; c++) columnScales[c] *= scale[c];
    }

    /// <summary>Reads what <paramref name="first"/> reads, and does both products in one. Both are of single pixels, and nothing
    /// else is folded afterwards.</summary>
    public void ReadThrough(Filters first) => (before, Channels) = (first, first.Channels);

    /// <param name="target">[Outputs, Channels/Groups, kh, kw].</param>
    /// <param name="biases">[Outputs].</param>
    public void Write(float* target, float* biases)
    {
        if (before is { } first) WriteJoined(first, target, biases);
        else WriteOwn(Channels, target, biases);
    }

    /// <summary>W₂ W₁ and W₂ b₁ + b₂.</summary>
    private void WriteJoined(Filters first, float* target, float* biases)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        Tensor second = new(new Shape(Outputs, first.Outputs)), inner = new(new Shape(first.Outputs, Channels));
        Tensor shift = new(new Shape(first.Outputs));
        WriteOwn(first.Outputs, second.Data, biases);
        first.Write(inner.Data, shift.Data);
        F.MatMul(second, inner).Span.CopyTo(new Span<float>(target, checked((int)Length)));
        for (int o = 0; o < Outputs; o++)
            biases[o] += TensorPrimitives.Dot(second.Span.Slice(o * first.Outputs, first.Outputs), shift.Span);
    }

    /// <param name="channels">Those that are read, or that the product before this one gives.</param>
    private void WriteOwn(int channels, float* target, float* biases)
    {
        for (int o = 0; o < Outputs; o++) biases[o] = (float)bias[o];
        if (IsPlain)
        {
            foreach (Weight weight in weights)
            {
                weight.Read(new Span<float>(target, checked((int)weight.Shape.Length)));
                target += weight.Shape.Length;
            }
            return;
        }
        int length = channels / Groups * Taps;
        for (int o = 0; o < Outputs; o++) if (rows[o] < 0) new Span<float>(target + (nint)o * length, length).Clear();
        Visit((o, address) => WriteRow(o, channels / Groups, (float*)address, target + (nint)o * length));
    }

    private void WriteRow(int output, int width, float* values, float* target)
    {
        if (ReadsAll && rowScales[output] == 1)
        {
            new ReadOnlySpan<float>(values, width * Taps).CopyTo(new Span<float>(target, width * Taps));
            return;
        }
        for (int c = 0; c < width; c++, target += Taps)
        {
            int from = Column(c);
            if (from < 0)
            {
                new Span<float>(target, Taps).Clear();
                continue;
            }
            double scale = rowScales[output] * (columnScales is null ? 1 : columnScales[c]);
            float* source = values + (nint)from * Taps;
            for (int t = 0; t < Taps; t++) target[t] = (float)(scale * source[t]);
        }
    }

    /// <summary>Calls with each output that has weights and where they are, one stacked weight after another.</summary>
    private void Visit(Action<int, nint> output)
    {
        int first = 0;
        foreach (Weight weight in weights)
        {
            using var scope = new Scope();
            float* values = weight.Load().Data;
            int end = first + weight.Shape[0];
            for (int o = 0; o < Outputs; o++)
                if (rows[o] >= first && rows[o] < end) output(o, (nint)(values + (long)(rows[o] - first) * columns * Taps));
            first = end;
        }
    }

    private int Column(int channel) => columnOf is null ? channel : columnOf[channel];
}
