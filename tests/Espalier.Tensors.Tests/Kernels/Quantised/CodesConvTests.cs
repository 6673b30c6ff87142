using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Quantised;

/// <summary>Convolutions of codes by every kernel of this processor against plain loops: the same codes.</summary>
public unsafe class CodesConvTests
{
    public static TheoryData<int, int, int, int, int, int, int> Shapes => new()
    {
        // channels, outputs, groups, kernel, stride, size, zero
        { 3, 16, 1, 7, 2, 23, 117 }, { 16, 33, 1, 1, 1, 7, 0 }, { 64, 64, 1, 3, 1, 14, 0 }, { 20, 24, 1, 3, 2, 9, 30 }, { 40,
            8, 1, 1, 2, 9, 255 },
        { 32, 48, 2, 3, 1, 6, 3 }, { 12, 18, 2, 3, 1, 6, 3 }, { 32, 32, 32, 3, 1, 20, 0 }, { 24, 24, 24, 3, 2, 17, 9 }, { 17,
            17, 17, 5, 1, 13, 128 },
        { 200, 40, 1, 1, 1, 1, 12 }, { 7, 10, 1, 5, 1, 5, 1 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void EveryKernelGivesTheSameCodes(int channels, int outputs, int groups, int kernel, int stride, int size, int zero)
    {
        var problem = new Problem(channels, outputs, groups, kernel, stride, size, zero);
        DotTile?[] tiles =
        [
            new Int8TilePortable(), Int8TileAvx2.IsSupported ? new Int8TileAvx2() : null, Int8TileAvxVnni.IsSupported
                ? new Int8TileAvxVnni() : null,
            DotKernels.Int8.Tile,
        ];
        foreach (Ends ends in Enum.GetValues<Ends>())
        {
            float[] expected = problem.Expected(ends);
            foreach (DotTile tile in tiles.OfType<DotTile>()) Assert.Equal(expected, problem.Run(ends, null, tile));
            if (ConvTile.Codes is { } direct) Assert.Equal(expected, problem.Run(ends, direct, new Int8TilePortable()));
        }
    }

    /// <summary>Sums of bytes at their ends do not saturate: 255 · 127 twice is past 16 bits.</summary>
    [Fact]
    public void TheLargestProductsAreExact()
    {
        sbyte* weights = stackalloc sbyte[16];
        new Span<sbyte>(weights, 16).Fill(127);
        int bias = 0;
        byte* x = stackalloc byte[64];
        new Span<byte>(x, 64).Fill(255);
        float scale = 1, y = 0;
        foreach (DotTile? tile in new[] { DotKernels.Int8.Tile, Int8TileAvx2.IsSupported ? new Int8TileAvx2() : null,
            new Int8TilePortable() })
        {
            if (tile is null) continue;
            using CodesConv conv = CodesConv.Create(16, 1, 1, weights, &bias, 0, new ConvShape(1, 1, 1, default),
                ConvTile.Codes, tile);
            conv.Run(1, 1, 1, x, 16, new CodesEpilogue { Scale = &scale, Floats = &y, Ldy = 1 });
            Assert.Equal(16 * 255 * 127, y);
        }
    }

    /// <summary>What is outside of 16 bits is cut as well: 255 steps above 100, or none.</summary>
    [Theory]
    [InlineData(127, 255)]
    [InlineData(-127, 0)]
    public void SumsFarOutsideAreCut(sbyte weight, int code)
    {
        sbyte* weights = stackalloc sbyte[16];
        new Span<sbyte>(weights, 16).Fill(weight);
        int bias = 0;
        byte* x = stackalloc byte[64], y = stackalloc byte[64];
        new Span<byte>(x, 64).Fill(255);
        float* scale = stackalloc float[32];
        new Span<float>(scale, 32).Fill(0.9f);
        using CodesConv conv = CodesConv.Create(16, 1, 1, weights, &bias, 0, new ConvShape(1, 1, 1, default));
        var epilogue = new CodesEpilogue
        {
            Scale = scale, Codes = y, Ldy = 16, Step = new CodeStep(0.1f, 100, 0, 255), HasRoom = true,
        };
        epilogue.InTile = ConvTile.Codes is not null && epilogue.IsForTile(1);
        Assert.Equal(ConvTile.Codes is not null, epilogue.InTile);
        conv.Run(1, 1, 1, x, 16, epilogue);
        Assert.Equal(code, y[0]);
    }

    /// <summary>Accumulator 1000, scales 0.02 and 0.005, result scale 0.1 and zero point 10; a bias of 0.3 is 3000.</summary>
    [Fact]
    public void TheNumbersOfAQuantisedConvolution()
    {
        sbyte* weights = stackalloc sbyte[16];
        new Span<sbyte>(weights, 16).Clear();
        byte* x = stackalloc byte[64], y = stackalloc byte[64];
        float* scale = stackalloc float[32];
        new Span<float>(scale, 32).Fill(0.02f * 0.005f / 0.1f);
        foreach (var (bias, code) in new[] { (1000, 11), (3000, 13) })
        {
            int start = bias;
            using CodesConv conv = CodesConv.Create(16, 1, 1, weights, &start, 5, new ConvShape(1, 1, 1, default));
            conv.Run(1, 1, 1, x, 16, new CodesEpilogue { Scale = scale, Codes = y, Ldy = 16, Step = new CodeStep(0.1f, 10, 0,
                255), HasRoom = true });
            Assert.Equal(code, y[0]);
        }
    }

    public enum Ends
    {
        Codes, Relu, Residual, ResidualFloats, Sum, SumOfOther, Floats,
    }

    private sealed class Problem
    {
        private const int Images = 2;
        private readonly int channels, outputs, groups, size, zero, ldx, ldy, out1;
        private readonly ConvShape shape;
        private readonly byte[] x, residual;
        private readonly sbyte[] weights;
        private readonly int[] bias;
        private readonly float[] scale, residualFloats;

        public Problem(int channels, int outputs, int groups, int kernel, int stride, int size, int zero)
        {
            (this.channels, this.outputs, this.groups, this.size, this.zero) = (channels, outputs, groups, size, zero);
            shape = new ConvShape(kernel, kernel, stride, new Padding(kernel / 2, kernel / 2, kernel / 2, kernel / 2));
            (ldx, ldy) = (channels <= 4 ? 4 : Blocking.RoundUp(channels, 16), Blocking.RoundUp(outputs, 16));
            out1 = shape.Over(size, size).OutHeight;
            var rng = new Rng(1, (ulong)channels, (ulong)kernel);
            x = [.. Enumerable.Range(0, Images * size * size * ldx + 64).Select(_ => (byte)(rng.NextULong() & 255))];
            residual = [.. Enumerable.Range(0, Images * out1 * out1 * ldy + 64).Select(_ => (byte)(rng.NextULong() & 255))];
            residualFloats = [.. Enumerable.Range(0, Images * out1 * out1 * ldy + 64).Select(_ => rng.NextFloat(-2, 2))];
            int each = channels / groups * kernel * kernel;
            weights = [.. Enumerable.Range(0, outputs * each).Select(_ => (sbyte)((int)(rng.NextULong() % 255) - 127))];
            bias = [.. Enumerable.Range(0, outputs).Select(_ => (int)(rng.NextULong() % 20001) - 10000)];
            scale = [.. Enumerable.Range(0, outputs + 64).Select(_ => rng.NextFloat(1, 2) * 1e-3f / MathF.Sqrt(each))];
        }

        private static CodeStep Step => new(0.02f, 100, 0, 255);

        private static CodeStep Mid => new(0.05f, 120, 0, 255);

        private static CodeStep ResidualStep => new(0.03f, 90, 0, 255);

        private static bool IsCodes(Ends ends) => ends != Ends.Floats;

        private static bool IsSum(Ends ends) => ends is Ends.Sum or Ends.SumOfOther;

        private static bool HasMid(Ends ends) => IsSum(ends) || ends is Ends.Residual or Ends.ResidualFloats;

        // What a unit of the sums comes to, in steps of the codes that they become.
        private float[] Factors(Ends ends) => [.. scale.Select(s => HasMid(ends) ? s / Mid.Scale : IsCodes(ends) ? s / Step.Scale : s)];

        public float[] Run(Ends ends, ConvTile? direct, DotTile tile)
        {
            int pixels = Images * out1 * out1;
            byte[] codes = new byte[pixels * ldy + 64];
            float[] floats = new float[pixels * ldy + 64];
            fixed (byte* px = x, pr = residual, pc = codes)
            fixed (sbyte* pw = weights)
            fixed (int* pb = bias)
            fixed (float* ps = Factors(ends), pf = floats, prf = residualFloats)
            {
                using CodesConv conv = CodesConv.Create(channels, outputs, groups, pw, pb, zero, shape, direct, tile);
                var epilogue = new CodesEpilogue { Scale = ps, Ldy = ldy, HasRoom = groups == 1 || groups == channels };
                if (IsCodes(ends)) epilogue.Codes = pc;
                else epilogue.Floats = pf;
                if (IsCodes(ends)) epilogue.Step = Step;
                if (ends == Ends.Relu) epilogue.Activation = Activation.Relu6;
                if (HasMid(ends))
                {
                    (epilogue.Mid, epilogue.LdResidual, epilogue.ResidualStep) = (Mid, ldy, ResidualStep);
                    if (ends == Ends.ResidualFloats) epilogue.ResidualFloats = prf;
                    else epilogue.ResidualCodes = pr;
                    if (IsSum(ends)) epilogue.Sum = CodeSum.Of(Mid, ResidualStep, Step, ownFirst: ends == Ends.Sum);
                    else epilogue.After = Activation.Relu;
                }
                epilogue.InTile = direct is not null && epilogue.IsForTile(outputs);
                conv.Run(Images, size, size, px, ldx, epilogue);
            }
            return [.. from p in Enumerable.Range(0, pixels) from o in Enumerable.Range(0, outputs)
                       select IsCodes(ends) ? codes[p * ldy + o] : floats[p * ldy + o]];
        }

        public float[] Expected(Ends ends)
        {
            var result = new List<float>();
            Window window = shape.Over(size, size);
            int each = channels / groups, rows = outputs / groups;
            float[] factors = Factors(ends);
            for (int p = 0; p < Images * out1 * out1; p++)
            {
                int image = p / (out1 * out1), row = p / out1 % out1, column = p % out1;
                for (int o = 0; o < outputs; o++)
                {
                    int sum = bias[o];
                    for (int c = 0; c < each; c++)
                        for (int t = 0; t < shape.Taps; t++)
                        {
                            int h = window.Row(row, t / shape.KernelWidth), w = window.Column(column, t % shape.KernelWidth);
                            if ((uint)h >= size || (uint)w >= size) continue;
                            int code = x[((image * size + h) * size + w) * ldx + o / rows * each + c];
                            sum += (code - zero) * weights[(o * each + c) * shape.Taps + t];
                        }
                    result.Add(End(ends, sum * factors[o], p * ldy + o));
                }
            }
            return [.. result];
        }

        // As ONNX Runtime does it, in floats: one product, one rounding; QLinearAdd; or numbers in between.
        private float End(Ends ends, float v, int at)
        {
            if (ends == Ends.Relu) v = Math.Min(Math.Max(v, 0), 6 / Step.Scale);
            if (!HasMid(ends)) return IsCodes(ends) ? Code(v, Step) + Step.Zero : v;
            v = Code(v, Mid);
            if (IsSum(ends))
            {
                float own = Mid.Scale / Step.Scale, other = ResidualStep.Scale / Step.Scale, code = v + Mid.Zero;
                float zeros = Step.Zero - (own * Mid.Zero + other * ResidualStep.Zero);
                v = ends == Ends.Sum ? MathF.FusedMultiplyAdd(code, own, MathF.FusedMultiplyAdd(residual[at], other, zeros))
                    : MathF.FusedMultiplyAdd(residual[at], other, MathF.FusedMultiplyAdd(code, own, zeros));
                return MathF.Round(Math.Clamp(v, Step.Low, Step.High));
            }
            v *= Mid.Scale;
            v += ends == Ends.Residual ? (residual[at] - ResidualStep.Zero) * ResidualStep.Scale : residualFloats[at];
            return Code(Math.Max(v, 0) * Step.Inverse, Step) + Step.Zero;
        }

        private static float Code(float v, CodeStep step) => MathF.Round(Math.Clamp(v, step.Least, step.Most));
    }
}
