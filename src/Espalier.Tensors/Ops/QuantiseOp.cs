using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// What is left of x where it is stored in a few bits: y = (q - zero) · scale with q = clip(round(x / scale) + zero, low, high);
/// QuantizeLinear and DequantizeLinear of ONNX in one. Backward the steps count as a line: dx = dy where q is not cut, else 0.
/// x of any shape -> y of the same shape; scale and zero of one entry, or of one for each entry of an axis of x.
/// </summary>
/// <remarks>
/// A graph says so which of its values and weights are of few bits. A session computes in integers what reads such values with
/// such weights, files hold the codes of such weights, and ONNX files have the pair of operators. Scales and zero points are
/// buffers: observers set them, and no gradient reaches them.
/// </remarks>
public sealed unsafe class QuantiseOp : Op
{
    /// <summary>The largest code, and the least below zero: 16 bits.</summary>
    private const int Most = ushort.MaxValue, Least = short.MinValue;

    private readonly Tensor x, scale;
    private readonly Tensor? zero;

    /// <param name="scale">Above 0: [] or [1], or [n] for an axis of n entries.</param>
    /// <param name="zero">The code of 0, like <paramref name="scale"/>; null for 0.</param>
    /// <param name="low">The least code; likewise the largest.</param>
    /// <param name="axis">That of the scales, counted from the front; -1 where there is one.</param>
    public QuantiseOp(Tensor x, Tensor scale, Tensor? zero, int low, int high, int axis = -1) : base(x, scale, zero)
    {
        if (axis < -1 || axis >= x.Rank || scale.Rank > 1 || scale.Length != (axis < 0 ? 1 : x.Shape[axis]))
            throw new ArgumentException($"Quantise: scale {scale.Shape} for axis {axis} of x {x.Shape}");
        if (zero is not null && (zero.Rank > 1 || zero.Length != scale.Length))
            throw new ArgumentException($"Quantise: zero {zero.Shape} for scale {scale.Shape}");
        if (low >= high || low < Least || high > Most)
            throw new ArgumentException($"Quantise: codes from {low} to {high}; they are of 16 bits at most");
        (this.x, this.scale, this.zero, Low, High, Axis) = (x, scale, zero, low, high, axis);
    }

    public override string Name => "Quantise";

    /// <summary>The least code.</summary>
    public int Low { get; }

    /// <summary>The largest code.</summary>
    public int High { get; }

    /// <summary>The axis that has a scale for each entry; -1 where there is one scale.</summary>
    public int Axis { get; }

    /// <summary>Bits that a code takes.</summary>
    public int Bits => 32 - int.LeadingZeroCount(Low < 0 ? Math.Max(High, -1 - Low) : High) + (Low < 0 ? 1 : 0);

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override void Save(OpSettings settings) => settings.Set("low", Low).Set("high", High).Set("axis", Axis);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        float* from = x.Data, to = y.Data;
        Planes((start, count, s, z) => Map.Unary(new CodeRange(s, z, Low, High), from + start, to + start, count));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(x)) return;
        AddGrad(x, dx =>
        {
            float* from = x.Data, slope = dy.Data, to = dx.Data;
            Planes((start, count, s, z) =>
                Map.Binary(new CodeRangeGradient(s, Low - z, High - z), from + start, slope + start, to + start, count));
        });
    }

    /// <summary>Calls with the stretches of x that have one scale and zero point.</summary>
    private void Planes(Action<nint, nint, float, float> plane)
    {
        float[] scales = scale.ToArray(), zeros = zero?.ToArray() ?? new float[scales.Length];
        Check(scales, zeros);
        nint inner = 1;
        for (int i = Axis < 0 ? 0 : Axis + 1; i < x.Rank; i++) inner *= x.Shape[i];
        for (nint start = 0, c = 0; start < x.Length; start += inner, c = (c + 1) % scales.Length)
            plane(start, inner, scales[c], zeros[c]);
    }

    private void Check(float[] scales, float[] zeros)
    {
        foreach (float s in scales)
            if (!(s > 0) || float.IsInfinity(s))
                throw new EspalierException(
                    $"a scale of '{scale.Name ?? "a quantised value"}' is {s}; scales are above 0: calibrate it first");
        foreach (float z in zeros)
            if (!(MathF.Abs(z) <= Most) || z != MathF.Round(z))
                throw new EspalierException(
                    $"a zero point of a quantised value is {z}; zero points are whole numbers of 16 bits");
    }

    /// <summary>Codes are entry by entry; a scale goes with the entry of its axis.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.SameShape(Output, x);
        if (Axis < 0) return;
        flow.Same(Output, Axis, scale, 0, ChannelRole.Statistic);
        if (zero is not null) flow.Same(Output, Axis, zero, 0, ChannelRole.Statistic);
    }
}

public static partial class F
{
    /// <inheritdoc cref="QuantiseOp"/>
    public static Tensor Quantise(Tensor x, Tensor scale, Tensor? zero = null, int low = -127, int high = 127, int axis = -1) =>
        new QuantiseOp(x, scale, zero, low, high, axis).Run();
}
