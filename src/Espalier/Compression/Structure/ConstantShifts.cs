using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Where the constants that masked channels emit go when the channels are removed. A layer that reads constant kappa through
/// weights W has kappa · ΣW (over the kernel) in each of its outputs, which its bias can give as well, or, where it has none, a
/// lower running mean of the batch norm behind it. A branch that is added to a wider stream leaves kappa in the shift of that
/// sum. At zero-padded borders fewer weights see the constant, so there the result differs.
/// </summary>
internal sealed class ConstantShifts
{
    private readonly Dictionary<Tensor, float[]> shifts = [];
    private readonly List<string> notes = [];

    /// <param name="ops">A pass of the masked network, whose weights are still masked.</param>
    public ConstantShifts(IReadOnlyList<Op> ops, PlannedCuts cuts, IReadOnlyDictionary<Tensor, string> names)
    {
        ILookup<Tensor, Op> readers = ops.SelectMany(op => op.Inputs.Select(x => (x, op))).ToLookup(p => p.x, p => p.op);
        foreach (Op op in ops)
        {
            if (op is IndexAddOp add && cuts.Of(add.Index, 0) is { Length: > 0 } lost) AddToStream(add, lost, names[add.Index]);
            if (op is LayerNormOp && cuts.Of(op.Inputs[1], 0) is { Length: > 0 } normed) Drop(op.Inputs[0], normed, names[op.Inputs[1]]);
            if (op is not (Conv2dOp or LinearOp) || cuts.Of(op.Inputs[1], 1) is not { Length: > 0 } columns) continue;
            float[] shift = Shift(op, columns, names[op.Inputs[1]]);
            if (Array.TrueForAll(shift, s => s == 0)) continue;
            Place(op, shift, readers, names[op.Inputs[1]]);
        }
    }

    /// <summary>What to add to each entry of biases and running means.</summary>
    public IReadOnlyDictionary<Tensor, float[]> Shifts => shifts;

    /// <summary>Where the constants could not be moved exactly.</summary>
    public IReadOnlyList<string> Notes => notes;

    private void AddToStream(IndexAddOp op, int[] lost, string name)
    {
        Tensor shift = op.Inputs[1], branch = op.Inputs[3];
        var constants = new float[shift.Length];
        bool varies = false;
        foreach (int place in lost) constants[(int)op.Index.Span[place]] = Constant(branch, 1, place, ref varies);
        if (varies) notes.Add($"{name}: a removed channel is not constant; its mean was moved");
        Add(shift, constants, 1);
    }

    /// <summary>A layer norm counts removed channels as zeros.</summary>
    private void Drop(Tensor x, int[] lost, string name)
    {
        bool varies = false;
        if (Array.Exists(lost, c => Constant(x, x.Rank - 1, c, ref varies) != 0) || varies)
            notes.Add($"{name}: the constants of removed channels were dropped under a layer norm; remove them as zeros instead");
    }

    private unsafe float[] Shift(Op op, int[] columns, string name)
    {
        Tensor x = op.Inputs[0], weight = op.Inputs[1];
        // Maps have channels on axis 1, rows and maps whose pixels come first on the last.
        int axis = op is LinearOp ? x.Rank - 1 : 1;
        int width = weight.Shape[1], groups = x.Shape[axis] / width, rows = weight.Shape[0];
        int taps = (int)(weight.Length / ((long)rows * width));
        var shift = new float[rows];
        bool border = false, varies = false;
        for (int row = 0; row < rows; row++)
        {
            int group = row / (rows / groups);
            double sum = 0;
            foreach (int column in columns)
            {
                float kappa = Constant(x, axis, group * width + column, ref varies);
                if (kappa == 0) continue;
                border = true;
                var kernel = new ReadOnlySpan<float>(weight.Data + ((long)row * width + column) * taps, taps);
                foreach (float w in kernel) sum += kappa * (double)w;
            }
            shift[row] = (float)sum;
        }
        if (varies) notes.Add($"{name}: a removed channel is not constant; its mean was moved");
        if (border && op is Conv2dOp conv && conv.Padding != default)
            notes.Add($"{name}: the constants of removed channels end at its zero-padded border, where outputs differ");
        return shift;
    }

    private static unsafe float Constant(Tensor x, int axis, int channel, ref bool varies)
    {
        int channels = x.Shape[axis], outer = 1;
        for (int i = 0; i < axis; i++) outer *= x.Shape[i];
        int plane = (int)(x.Length / ((long)outer * channels));
        double sum = 0;
        float low = float.MaxValue, high = float.MinValue;
        for (int n = 0; n < outer; n++)
        {
            foreach (float v in new ReadOnlySpan<float>(x.Data + ((long)n * channels + channel) * plane, plane))
            {
                sum += v;
                (low, high) = (Math.Min(low, v), Math.Max(high, v));
            }
        }
        if (high - low <= 1e-5f * Math.Max(1, Math.Abs(high))) return low;
        varies = true;
        return (float)(sum / (outer * (long)plane));
    }

    private void Place(Op op, float[] shift, ILookup<Tensor, Op> readers, string name)
    {
        Tensor? bias = (op as Conv2dOp)?.Bias ?? (op as LinearOp)?.Bias;
        Op[] next = [.. readers[op.Output]];
        if (readers[op.Inputs[1]].Count() > 1)
            notes.Add($"{name}: runs more than once, so the constants of removed channels were dropped there");
        else if (bias is not null)
            Add(bias, shift, 1);
        else if (next.Length > 0 && next.All(n => n is BatchNorm2dOp && n.Inputs[0] == op.Output))
            foreach (Op norm in next) Add(norm.Inputs[3], shift, -1);
        else
            notes.Add($"{name}: no bias and no batch norm follow, so the constants of removed channels were dropped there");
    }

    private void Add(Tensor to, float[] shift, int sign)
    {
        if (!shifts.TryGetValue(to, out float[]? sum)) shifts.Add(to, sum = new float[shift.Length]);
        for (int i = 0; i < shift.Length; i++) sum[i] += sign * shift[i];
    }
}
