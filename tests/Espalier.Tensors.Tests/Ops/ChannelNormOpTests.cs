namespace Espalier.Tensors.Tests.Ops;

/// <summary>BatchNorm2d, GroupNorm and WeightStandardise.</summary>
public class ChannelNormOpTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BatchNormGradientIsTheNumericOne(bool training)
    {
        using var scope = new Scope();
        Tensor mean = GradientCheck.Random(4, 3), variance = Tensor.From(new Shape(3), [0.5f, 1, 2]);
        GradientCheck.Check(
            t => F.BatchNorm2d(t[0], t[1], t[2], mean.Clone(), variance.Clone(), training),
            GradientCheck.Random(1, 3, 3, 3, 3), GradientCheck.Random(2, 3), GradientCheck.Random(3, 3));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BatchNormWithReluIsBothOneAfterTheOther(bool training)
    {
        using var scope = new Scope();
        Tensor mean = GradientCheck.Random(4, 3), variance = Tensor.From(new Shape(3), [0.5f, 1, 2]);
        // Planes of 35: whole vectors and a rest.
        Tensor x = GradientCheck.Random(1, 4, 3, 5, 7), gamma = GradientCheck.Random(2, 3), beta = GradientCheck.Random(3, 3);
        Tensor[] inputs = [x, gamma, beta];
        float[][] Run(bool joined)
        {
            foreach (Tensor t in inputs) t.RequiresGrad = true;
            using var recording = new Recording();
            var norm = new BatchNorm2dOp(x, gamma, beta, mean.Clone(), variance.Clone(), training);
            Tensor y = joined ? norm.WithRelu().Run() : F.Relu(norm.Run());
            recording.Backward(y, GradientCheck.Random(5, 4, 3, 5, 7));
            float[][] result = [y.ToArray(), .. inputs.Select(t => t.Grad!.ToArray())];
            foreach (Tensor t in inputs) t.ClearGrad();
            return result;
        }
        float[][] apart = Run(joined: false);
        Assert.Contains(0f, apart[0]);
        Assert.Equal(apart, Run(joined: true));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void GroupNormGradientIsTheNumericOne(int groups) =>
        GradientCheck.Check(
            t => F.GroupNorm(t[0], t[1], t[2], groups),
            GradientCheck.Random(1, 2, 4, 3, 4), GradientCheck.Random(2, 4), GradientCheck.Random(3, 4));

    [Theory]
    [InlineData(WeightStandardisation.Google)]
    [InlineData(WeightStandardisation.Jeonsworld)]
    [InlineData(WeightStandardisation.Timm)]
    public void StandardisedWeightsGradientIsTheNumericOne(WeightStandardisation variant) =>
        GradientCheck.Check(t => F.WeightStandardise(t[0], variant), GradientCheck.Random(1, 3, 2, 3, 3));

    [Theory]
    [InlineData(WeightStandardisation.Google, 1.3416288f, 0.4472096f)]
    [InlineData(WeightStandardisation.Jeonsworld, 1.3416354f, 0.4472118f)]
    [InlineData(WeightStandardisation.Timm, 1.3416408f, 0.4472136f)]
    public void OneToFourIsStandardised(WeightStandardisation variant, float outer, float inner)
    {
        using var scope = new Scope();
        Tensor y = F.WeightStandardise(Tensor.From(new Shape(1, 4), [1, 2, 3, 4]), variant);
        foreach (var (expected, actual) in new[] { -outer, -inner, inner, outer }.Zip(y.ToArray()))
            Assert.Equal(expected, actual, 2e-7f);
    }

    [Theory]
    [InlineData(WeightStandardisation.Google, 0.9990010f)]
    [InlineData(WeightStandardisation.Jeonsworld, 0.9534626f)]
    [InlineData(WeightStandardisation.Timm, 0.9999500f)]
    public void SmallWeightsShowTheEpsilon(WeightStandardisation variant, float expected)
    {
        using var scope = new Scope();
        Assert.Equal(expected, F.WeightStandardise(Tensor.From(new Shape(1, 2), [-0.01f, 0.01f]), variant).Span[1], 2e-7f);
    }

    [Fact]
    public void AConstantWeightBecomesZeroAndItsGradientStaysFinite()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor w = Tensor.Full(new Shape(1, 4), 2);
        w.RequiresGrad = true;
        Tensor y = F.WeightStandardise(w, WeightStandardisation.Google);
        Assert.Equal([0, 0, 0, 0], y.ToArray());
        recording.Backward(y, Tensor.From(y.Shape, [1, 0, 0, 0]));
        Assert.All(w.Grad!.ToArray(), value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void ALargeMeanCostsNoDigits()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 4, 1, 8, 8), shifted = x.Clone();
        Tensor one = Tensor.Full(new Shape(1), 1), zero = Tensor.Zeros(new Shape(1));
        foreach (ref float value in shifted.Span) value += 1024;
        Tensor expected = F.BatchNorm2d(x, one, zero, zero.Clone(), one.Clone(), training: true);
        Tensor actual = F.BatchNorm2d(shifted, one, zero, zero.Clone(), one.Clone(), training: true);
        for (int i = 0; i < x.Length; i++) Assert.Equal(expected.Span[i], actual.Span[i], 5e-4f);
    }

    [Fact]
    public void BatchNormChannelsTakeTheirStatisticsAlong()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = new(new Shape(2, 3, 2, 2)), gamma = new(new Shape(3)), beta = new(new Shape(3)), mean = new(new Shape(3));
        Tensor variance = Tensor.Full(new Shape(3), 1), y = F.BatchNorm2d(x, gamma, beta, mean, variance, training: false);
        IReadOnlyList<Coupling> couplings = recording.Flow().Couplings;
        Assert.Equal(new Coupling(y, 1, 0, 1, x, 1, 0, 1, 3), couplings[0]);
        Assert.Equal([gamma, beta, mean, variance], couplings.Skip(1).Select(c => c.B));
    }

    [Fact]
    public void GroupNormChannelsGoByWholeGroups()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = new(new Shape(1, 6, 2, 2)), gamma = new(new Shape(6)), beta = new(new Shape(6));
        Tensor y = F.GroupNorm(x, gamma, beta, 2);
        Coupling[] expected =
        [
            new(y, 1, 0, 3, x, 1, 0, 3, 2),
            new(y, 1, 0, 3, gamma, 0, 0, 3, 2),
            new(y, 1, 0, 3, beta, 0, 0, 3, 2),
        ];
        Assert.Equal(expected, recording.Flow().Couplings);
    }

    [Fact]
    public void WrongShapesNameTheOp()
    {
        using var scope = new Scope();
        Tensor x = new(new Shape(1, 6, 1, 1)), six = new(new Shape(6)), five = new(new Shape(5));
        Refused("BatchNorm2d: gamma [6], beta [5]", () => F.BatchNorm2d(x, six, five, six, six, false));
        Assert.Contains("one value a channel",
            Assert.Throws<EspalierException>(() => F.BatchNorm2d(x, six, six, six, six, true)).Message);
        Refused("GroupNorm: the channels of x [1,6,1,1]", () => F.GroupNorm(x, six, six, 4));
        Refused("GroupNorm: x [1,6,1,1], gamma [5]", () => F.GroupNorm(x, five, five, 2));
        Refused("WeightStandardise: w [6]", () => F.WeightStandardise(six, default));

        static void Refused(string message, Func<Tensor> call) =>
            Assert.Contains(message, Assert.Throws<ArgumentException>(call).Message);
    }
}
