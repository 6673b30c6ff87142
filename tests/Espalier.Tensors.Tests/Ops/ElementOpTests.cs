namespace Espalier.Tensors.Tests.Ops;

/// <summary>Functions of one number and of two, choices and places: gradients against finite differences, and flow.</summary>
public class ElementOpTests
{
    public static TheoryData<ElementFunction> Elements => [.. Enum.GetValues<ElementFunction>()];

    public static TheoryData<PairFunction> Pairs => [.. Enum.GetValues<PairFunction>()];

    [Theory, MemberData(nameof(Elements))]
    public void GradientsOfFunctionsOfOneNumber(ElementFunction function)
    {
        Tensor x = Random(1, 3, 4);
        if (function == ElementFunction.Reciprocal) foreach (ref float v in x.Span) v = 0.5f + MathF.Abs(v);
        if (function == ElementFunction.Acosh) foreach (ref float v in x.Span) v = 1.3f + MathF.Abs(v);
        GradientCheck.Check(t => F.Element(t[0], function, 0.2f, 0.4f), x);
    }

    [Theory, MemberData(nameof(Pairs))]
    public void GradientsOfFunctionsOfTwoNumbers(PairFunction function)
    {
        Tensor a = Random(2, 3, 1, 4), b = Random(3, 2, 4);
        if (function is PairFunction.Pow or PairFunction.Mod or PairFunction.FMod)
        {
            // A quotient between 1.1 and 1.95, which is away from steps.
            foreach (ref float v in a.Span) v = 1.5f + 0.3f * v;
            foreach (ref float v in b.Span) v = 1 + 0.1f * v;
        }
        GradientCheck.Check(t => F.Pair(t[0], t[1], function), a, b);
    }

    [Fact]
    public void GradientsOfChoicesRepeatsAndPlaces()
    {
        Tensor condition = Tensor.From(new Shape(2, 1), [1, 0]), list = Tensor.From(new Shape(4), [5, -1, 5, 0]);
        GradientCheck.Check(t => F.Where(condition, t[0], t[1]), Random(4, 3), Random(5, 2, 3));
        GradientCheck.Check(t => F.Repeat(t[0], new Tensor(new Shape(3))), Random(6, 1, 4));
        GradientCheck.Check(t => F.Pick(t[0], list, [2, 2], 0.5f), Random(7, 2, 6));
    }

    [Fact]
    public void FlowOfPlacesFixesAndOfOthersPasses()
    {
        Assert.Equal(["y0=x0", "y1=x1"], FlowCheck.Of(t => F.Element(t[0], ElementFunction.Erf), [2, 3]));
        Assert.Equal(["y1=x1"], FlowCheck.Of(t => F.Repeat(t[0], new Tensor(new Shape(3))), [1, 3]));
    }

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        Tensor x = new(new Shape(2, 6)), list = Tensor.From(new Shape(1), [6]);
        Assert.Contains("place 6 of 6", Assert.Throws<ArgumentException>(() => F.Pick(x, list, [1])).Message);
        Assert.Throws<ArgumentException>(() => F.Pick(x, Tensor.From(new Shape(1), [0.5f]), [1]));
        Assert.Throws<ArgumentException>(() => F.Pick(x, Tensor.From(new Shape(1), [0]), [2]));
        Assert.Throws<ArgumentException>(() => F.Repeat(x, x));
        Assert.Throws<ArgumentException>(() => F.Where(x, x, new Tensor(new Shape(4))));
    }

    /// <summary>Between -0.9 and 0.9, and not near a corner or step of any of the functions.</summary>
    private static Tensor Random(ulong seed, params int[] dims)
    {
        var t = new Tensor(new Shape(dims));
        var rng = new Rng(seed);
        float[] edges = [0, 0.2f, 0.5f, -0.5f];
        foreach (ref float v in t.Span)
        {
            do v = rng.NextFloat(-0.9f, 0.9f);
            while (Array.Exists(edges, Near(v)));
        }
        return t;

        static Predicate<float> Near(float v) => edge => MathF.Abs(v - edge) < 0.03f;
    }
}
