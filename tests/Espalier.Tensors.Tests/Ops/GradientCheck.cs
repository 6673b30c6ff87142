namespace Espalier.Tensors.Tests.Ops;

/// <summary>
/// Compares an op's backward pass with finite differences. The output is projected on random numbers in [-1, 1] to a scalar,
/// in double precision; each input element is moved by ±h and ±2h, h = 0.01, and the fourth-order central difference taken.
/// Its truncation error is of the order h⁴ = 1e-8, the rounding of the float forward pass of the order 1e-7 / h = 1e-5, so
/// gradients have to agree to 1e-3 of max(1, |gradient|) with a wide margin. Keep inputs 0.05 away from kinks.
/// </summary>
internal static class GradientCheck
{
    private const float Step = 0.01f;
    private const double Tolerance = 1e-3;

    /// <summary>Checks every input's gradient, that gradients add up, and that an input that wants none gets none.</summary>
    public static void Check(Func<Tensor[], Tensor> op, params Tensor[] inputs)
    {
        using var scope = new Scope();
        double[] projection = Projection(Value(op, inputs).Length);
        double[][] expected = Array.ConvertAll(inputs, x => Numeric(op, inputs, x, projection));

        foreach (Tensor x in inputs) x.RequiresGrad = true;
        Backward(op, inputs, projection);
        for (int i = 0; i < inputs.Length; i++) Compare($"input {i}", expected[i], inputs[i].Grad, 1);
        Backward(op, inputs, projection);
        for (int i = 0; i < inputs.Length; i++) Compare($"input {i}, second pass", expected[i], inputs[i].Grad, 2);

        for (int without = 0; without < inputs.Length && inputs.Length > 1; without++)
        {
            foreach (Tensor x in inputs) x.ClearGrad();
            for (int i = 0; i < inputs.Length; i++) inputs[i].RequiresGrad = i != without;
            Backward(op, inputs, projection);
            Assert.Null(inputs[without].Grad);
            for (int i = 0; i < inputs.Length; i++)
                if (i != without) Compare($"input {i} without {without}", expected[i], inputs[i].Grad, 1);
        }
        foreach (Tensor x in inputs)
        {
            x.ClearGrad();
            x.RequiresGrad = false;
        }
    }

    /// <summary>Standard normal values, the same for the same seed.</summary>
    public static Tensor Random(ulong seed, params int[] dims)
    {
        var rng = new Rng(seed);
        var t = new Tensor(new Shape(dims));
        foreach (ref float value in t.Span) value = rng.NextNormal();
        return t;
    }

    /// <summary>As <see cref="Random"/>, but with every value moved away from 0 by <paramref name="gap"/>.</summary>
    public static Tensor AwayFromZero(ulong seed, float gap, params int[] dims)
    {
        Tensor t = Random(seed, dims);
        foreach (ref float value in t.Span) value += MathF.CopySign(gap, value);
        return t;
    }

    private static Tensor Value(Func<Tensor[], Tensor> op, Tensor[] inputs)
    {
        using (Recording.Pause()) return op(inputs);
    }

    private static void Backward(Func<Tensor[], Tensor> op, Tensor[] inputs, double[] projection)
    {
        using var recording = new Recording();
        Tensor y = op(inputs);
        recording.Backward(y, Tensor.From(y.Shape, Array.ConvertAll(projection, v => (float)v)));
    }

    private static double[] Projection(long length)
    {
        var rng = new Rng(4711);
        var r = new double[length];
        for (int i = 0; i < r.Length; i++) r[i] = rng.NextFloat(-1, 1);
        return r;
    }

    private static double[] Numeric(Func<Tensor[], Tensor> op, Tensor[] inputs, Tensor x, double[] projection)
    {
        var gradient = new double[x.Length];
        for (int i = 0; i < gradient.Length; i++)
        {
            float middle = x.Span[i];
            double near = At(middle + Step) - At(middle - Step), far = At(middle + 2 * Step) - At(middle - 2 * Step);
            x.Span[i] = middle;
            gradient[i] = (8 * near - far) / (12 * Step);

            double At(float value)
            {
                using var scope = new Scope();
                x.Span[i] = value;
                Span<float> y = Value(op, inputs).Span;
                double sum = 0;
                for (int k = 0; k < y.Length; k++) sum += projection[k] * y[k];
                return sum;
            }
        }
        return gradient;
    }

    private static void Compare(string what, double[] expected, Tensor? grad, int passes)
    {
        Assert.True(grad is not null, $"{what}: no gradient");
        for (int i = 0; i < expected.Length; i++)
        {
            double e = passes * expected[i], actual = grad.Span[i];
            Assert.True(Math.Abs(actual - e) <= Tolerance * Math.Max(1, Math.Abs(e)),
                $"{what}, element {i}: gradient {actual}, numerically {e}");
        }
    }
}
