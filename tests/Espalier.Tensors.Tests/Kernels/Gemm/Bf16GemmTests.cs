using Espalier.Tensors.Kernels;
using Espalier.Tensors.Tests.Kernels.Linear;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels;

[Collection("Workers")]
public sealed unsafe class Bf16GemmTests : IDisposable
{
    private readonly int threadsBefore = Workers.Threads;

    public static TheoryData<string> Tiles => DotKernelList.Bf16;

    public void Dispose() => Workers.Threads = threadsBefore;

    /// <summary>Rounded matrices multiplied in double precision; with one thread and with three the same bits.</summary>
    [Theory]
    [MemberData(nameof(Tiles))]
    public void Products_are_those_of_the_rounded_matrices(string name)
    {
        DotTile tile = DotKernelList.Get(name);
        (int M, int N, int K)[] shapes = [(32, 32, 32), (37, 65, 51), (197, 96, 33), (50, 130, 100), (33, 40, 4111)];
        foreach ((int m, int n, int k) in shapes)
            foreach (bool transA in (bool[])[false, true])
                foreach (bool transB in (bool[])[false, true])
                {
                    using var problem = new Rounded(transA, transB, m, n, k, withBias: transA, accumulate: !transA && transB,
                        gelu: transA && transB);
                    Workers.Threads = 1;
                    float[] one = problem.Run(tile);
                    problem.AssertMatchesReference(one);
                    Workers.Threads = 3;
                    Assert.Equal(one, problem.Run(tile));
                }
    }

    [Fact]
    public void Columns_are_packed_as_rows_are()
    {
        var rng = new Rng(5);
        foreach (int count in new[] { 1, 2, 15, 32, 33 })
            foreach ((int lines, int height) in new[] { (12, 12), (7, 12), (32, 32), (20, 32), (5, 5) })
            {
                const int Gap = 16;
                using var across = new NativeFloats(((nint)count * (lines + Gap)) + Gap);
                using var along = new NativeFloats((nint)lines * count);
                for (int k = 0; k < count; k++)
                    for (int i = 0; i < lines; i++)
                        along.Data[(i * count) + k] = across.Data[(k * (lines + Gap)) + i] = rng.NextFloat(-1, 1);
                int padded = (count + 15) / 16 * 16;
                using var columns = new NativeFloats((nint)(height * padded / 2) + 16);
                using var rows = new NativeFloats((nint)(height * padded / 2) + 16);
                Bf16Rows.PackColumns(across.Data, lines + Gap, lines, height, count, (byte*)columns.Data);
                Bf16Rows.Pack(along.Data, count, lines, height, count, (byte*)rows.Data);
                for (int group = 0; group < padded / 2; group++)
                    for (int i = 0; i < lines; i++)
                        Assert.Equal(((uint*)rows.Data)[(group * height) + i], ((uint*)columns.Data)[(group * height) + i]);
            }
    }

    /// <summary>Both directions of a linear layer are its formulas with rounded factors; what is small stays as it was.</summary>
    [Fact]
    public void A_linear_layer_rounds_the_factors_of_its_products()
    {
        var rng = new Rng(3);
        Tensor x = Random(64, 48, ref rng), w = Random(40, 48, ref rng), dy = Random(64, 40, ref rng), bias = Random(40, ref rng);
        x.RequiresGrad = w.RequiresGrad = true;
        Tensor y = Both(x, w, bias, dy, out Tensor dx, out Tensor dw, round: true);
        Tensor expected = Both(Round(x), Round(w), bias, Round(dy), out Tensor dxExpected, out Tensor dwExpected, round: false);
        Close(expected, y);
        Close(dxExpected, dx);
        Close(dwExpected, dw);
        Tensor few = Random(8, 48, ref rng);
        using (ProductPrecision.By(new Bf16TileReference())) Assert.Equal(F.Linear(few, w).ToArray(), Plain(few, w));

        static float[] Plain(Tensor x, Tensor w)
        {
            using (ProductPrecision.Of(Precision.Fp32)) return F.Linear(x, w).ToArray();
        }
    }

    [Fact]
    public void Training_has_no_products_of_int8()
    {
        var e = Assert.Throws<EspalierException>(() => ProductPrecision.Of(Precision.Int8));
        Assert.Contains("not Int8", e.Message);
    }

    private static Tensor Both(Tensor x, Tensor w, Tensor bias, Tensor dy, out Tensor dx, out Tensor dw, bool round)
    {
        x.RequiresGrad = w.RequiresGrad = true;
        x.ClearGrad();
        w.ClearGrad();
        using var block = round ? ProductPrecision.By(new Bf16TileReference()) : ProductPrecision.Of(Precision.Fp32);
        using var recording = new Recording();
        Tensor y = F.Linear(x, w, bias);
        recording.Backward(F.Sum(y * dy));
        (dx, dw) = (x.Grad!, w.Grad!);
        return y;
    }

    private static Tensor Random(int rows, int columns, ref Rng rng) =>
        Tensor.From(new Shape(rows, columns), Values(rows * columns, ref rng));

    private static Tensor Random(int count, ref Rng rng) => Tensor.From(new Shape(count), Values(count, ref rng));

    private static float[] Values(int count, ref Rng rng)
    {
        float[] values = new float[count];
        foreach (ref float x in values.AsSpan()) x = rng.NextFloat(-1, 1);
        return values;
    }

    private static Tensor Round(Tensor x) => Tensor.From(x.Shape, [.. x.ToArray().Select(Rounded.Round)]);

    private static void Close(Tensor expected, Tensor actual)
    {
        float[] a = expected.ToArray(), b = actual.ToArray();
        Assert.Equal(a.Length, b.Length);
        for (int i = 0; i < a.Length; i++) Assert.InRange(b[i], a[i] - 2e-5f, a[i] + 2e-5f);
    }

    /// <summary>A product of random matrices with rows further apart than they are long.</summary>
    private sealed class Rounded : IDisposable
    {
        private readonly NativeFloats a, b, c, bias, roundedA, roundedB;
        private readonly float[] before, expected;
        private readonly int k;
        private Product product;

        public Rounded(bool transA, bool transB, int m, int n, int k, bool withBias, bool accumulate, bool gelu)
        {
            this.k = k;
            var rng = new Rng((ulong)(m + n + k));
            int lda = (transA ? m : k) + 3, ldb = (transB ? k : n) + 1, ldc = n + 2;
            (a, b) = (Filled((transA ? k : m) * lda, ref rng), Filled((transB ? n : k) * ldb, ref rng));
            (c, bias) = (Filled(m * ldc, ref rng), Filled(n, ref rng));
            (roundedA, roundedB) = (Copy(a), Copy(b));
            before = Read(c);
            product = new Product
            {
                M = m, N = n, K = k, TransA = transA, TransB = transB, A = a.Data, Lda = lda, B = b.Data, Ldb = ldb, C = c.Data,
                Ldc = ldc, Epilogue = new Epilogue { Bias = withBias ? bias.Data : null, Accumulate = accumulate, Gelu = gelu },
            };
            Reference.Run(transA, transB, m, n, k, roundedA.Data, lda, roundedB.Data, ldb, c.Data, ldc, product.Epilogue);
            expected = Read(c);
        }

        public static float Round(float x) => BitConverter.UInt32BitsToSingle((uint)Bf16Rows.Round(x) << 16);

        public float[] Run(DotTile tile)
        {
            before.CopyTo(new Span<float>(c.Data, before.Length));
            Bf16Gemm.Run(tile, product);
            return Read(c);
        }

        public void AssertMatchesReference(float[] found)
        {
            float tolerance = 1e-6f * (k + 10);
            for (int i = 0; i < found.Length; i++)
                Assert.True(Math.Abs(found[i] - expected[i]) <= tolerance, $"{product.M}x{product.N}x{product.K} at {i}: {found[i]}, not {expected[i]}");
        }

        public void Dispose()
        {
            foreach (NativeFloats x in (NativeFloats[])[a, b, c, bias, roundedA, roundedB]) x.Dispose();
        }

        private static float[] Read(NativeFloats x) => new ReadOnlySpan<float>(x.Data, (int)x.Length).ToArray();

        private static NativeFloats Filled(int count, ref Rng rng)
        {
            var x = new NativeFloats(count);
            for (int i = 0; i < count; i++) x.Data[i] = rng.NextFloat(-1, 1);
            return x;
        }

        private static NativeFloats Copy(NativeFloats x)
        {
            var copy = new NativeFloats(x.Length);
            for (int i = 0; i < x.Length; i++) copy.Data[i] = Round(x.Data[i]);
            return copy;
        }
    }
}
