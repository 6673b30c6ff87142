namespace Espalier.Tensors.Tests.Ops;

public class UnaryOpTests
{
    private const int Large = 200_003; // past the length from which threads share the work, with a ragged end

    private static readonly Dictionary<string, (Func<Tensor, Tensor> Op, Func<double, double> Expected, bool Positive)> Table =
        new()
        {
            ["Neg"] = (F.Neg, x => -x, false),
            ["Exp"] = (F.Exp, Math.Exp, false),
            ["Log"] = (F.Log, Math.Log, true),
            ["Sqrt"] = (F.Sqrt, Math.Sqrt, true),
            ["Square"] = (F.Square, x => x * x, false),
            ["Pow"] = (x => F.Pow(x, -1.5f), x => Math.Pow(x, -1.5), true),
            ["Abs"] = (F.Abs, Math.Abs, false),
            ["Tanh"] = (F.Tanh, Math.Tanh, false),
            ["Sigmoid"] = (F.Sigmoid, x => 1 / (1 + Math.Exp(-x)), false),
            ["Relu"] = (F.Relu, x => Math.Max(x, 0), false),
            ["Gelu"] = (F.Gelu, null!, false),
            ["Silu"] = (F.Silu, x => x / (1 + Math.Exp(-x)), false),
            ["Clamp"] = (x => F.Clamp(x, -5, 0), x => Math.Clamp(x, -5, 0), false),
            ["Affine"] = (x => F.Affine(x, 3, -2), x => 3 * x - 2, false),
        };

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory, MemberData(nameof(Names))]
    public void GradientMatchesDifferences(string name)
    {
        using var scope = new Scope();
        GradientCheck.Check(t => Table[name].Op(t[0]), Input(name, 3, 7));
    }

    [Theory, MemberData(nameof(Names))]
    public void LongTensorsAreSharedByThreads(string name)
    {
        using var scope = new Scope();
        var (op, expected, _) = Table[name];
        Tensor x = Input(name, Large), whole = op(x);
        if (expected is null) expected = v => op(Tensor.Scalar((float)v)).Item();
        for (int i = 0; i < Large; i += 997)
        {
            double e = expected(x.Span[i]);
            Assert.Equal(e, whole.Span[i], 2e-5 * Math.Max(1, Math.Abs(e)));
        }
        Assert.Equal(expected(x.Span[Large - 1]), whole.Span[Large - 1], 1e-4);
    }

    [Theory, MemberData(nameof(Names))]
    public void ChannelsStayWhereTheyAre(string name) =>
        Assert.Equal(["y0=x0", "y1=x1", "y2=x2"], FlowCheck.Of(t => Table[name].Op(t[0]), [2, 3, 4]));

    [Fact]
    public void NotANumberIsNotHidden()
    {
        using var scope = new Scope();
        Tensor x = Tensor.Full(new Shape(37), 1);
        for (int i = 0; i < 37; i += 3) x.Span[i] = float.NaN;
        foreach (Tensor y in (Tensor[])[F.Relu(x), F.Clamp(x, 0, 6)])
            for (int i = 0; i < 37; i++) Assert.Equal(i % 3 == 0, float.IsNaN(y.Span[i]));
    }

    [Fact]
    public void NumbersAreAddedAndMultiplied()
    {
        using var scope = new Scope();
        Assert.Equal(7, F.Add(F.Mul(Tensor.Scalar(3), 2), 1).Item());
    }

    [Fact]
    public void SlopesAtKinksAreThoseOfPyTorch()
    {
        using var scope = new Scope();
        Assert.Equal([0f], Slope(F.Relu, 0));
        Assert.Equal([0f], Slope(F.Abs, 0));
        Assert.Equal([1f], Slope(x => F.Clamp(x, 0, 1), 0));
        Assert.Equal([1f], Slope(x => F.Clamp(x, 0, 1), 1));
    }

    private static float[] Slope(Func<Tensor, Tensor> op, float at)
    {
        using var recording = new Recording();
        Tensor x = Tensor.Full(new Shape(1), at);
        x.RequiresGrad = true;
        recording.Backward(op(x));
        return x.Grad!.ToArray();
    }

    // Kinks are at 0 only; logarithms and roots want what is well above it.
    private static Tensor Input(string name, params int[] dims)
    {
        Tensor x = GradientCheck.AwayFromZero(5, Table[name].Positive ? 0.5f : 0.1f, dims);
        if (Table[name].Positive) foreach (ref float v in x.Span) v = MathF.Abs(v);
        return x;
    }
}
