using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

/// <summary>The parts of an epilogue that a test asks for.</summary>
[Flags]
public enum Parts
{
    None = 0,
    Bias = 1,
    Gelu = 2,
    PreActivation = 4,
    Residual = 8,
    Accumulate = 16,
    ResidualInPlace = 32,

    /// <summary>QuickGELU in the place of GELU.</summary>
    Quick = 64,
}

/// <summary>A random product in native memory, with rows further apart than they are long and guard values around C.</summary>
internal sealed unsafe class Problem : IDisposable
{
    private const int Gap = 3;
    private const float Guard = 12345f;

    private readonly List<nint> owned = [];
    private readonly Random random = new(7);
    private readonly int lengthC;
    private readonly float* c;
    private readonly float* expected;
    private readonly float* preActivation;
    private readonly float* expectedPreActivation;
    private readonly float* start;
    private readonly Parts parts;
    private Product product;
    private bool hasExpected;

    public Problem(bool transA, bool transB, int m, int n, int k, Parts parts = Parts.None)
    {
        this.parts = parts;
        int ldc = n + Gap;
        lengthC = m * ldc;
        int rowsA = transA ? k : m;
        int rowsB = transB ? n : k;
        product = new Product
        {
            Tiles = KernelInfo.Tiles,
            M = m,
            N = n,
            K = k,
            TransA = transA,
            TransB = transB,
            Lda = (transA ? m : k) + 1,
            Ldb = (transB ? k : n) + 2,
            Ldc = ldc,
        };
        product.A = Random(rowsA * product.Lda);
        product.B = Random(rowsB * product.Ldb);
        start = Random(lengthC);
        c = Random(lengthC);
        expected = Random(lengthC);
        preActivation = Random(lengthC);
        expectedPreActivation = Random(lengthC);
        product.C = c;
        product.Epilogue = new Epilogue
        {
            Bias = parts.HasFlag(Parts.Bias) ? Random(n) : null,
            Gelu = parts.HasFlag(Parts.Gelu), Quick = parts.HasFlag(Parts.Quick) ? 1.702f : 0,
            PreActivation = parts.HasFlag(Parts.PreActivation) ? preActivation : null,
            Residual = parts.HasFlag(Parts.Residual) ? Random(m * (n + 5)) : parts.HasFlag(Parts.ResidualInPlace) ? c : null,
            LdResidual = parts.HasFlag(Parts.Residual) ? n + 5 : ldc,
            Accumulate = parts.HasFlag(Parts.Accumulate),
        };
        for (int i = 0; i < m; i++)
        {
            new Span<float>(start + (i * ldc) + n, Gap).Fill(Guard);
        }
    }

    public TileSet Tiles
    {
        set => product.Tiles = value;
    }

    public void Dispose() => owned.ForEach(memory => NativeMemory.Free((void*)memory));

    public override string ToString()
    {
        string transposed = $"{(product.TransA ? 'T' : 'N')}{(product.TransB ? 'T' : 'N')}";
        return $"{product.Tiles.Name} {transposed} {product.M}x{product.N}x{product.K} {parts}";
    }

    /// <summary>C from the fast product, rows and gaps.</summary>
    public float[] Run(bool prepacked = false)
    {
        Reset();
        if (prepacked)
        {
            using var b = new PackedB(product.TransB, product.N, product.K, product.B, product.Ldb, product.Tiles);
            Gemm.Run(
                product.M, product.N, product.K, product.A, product.Lda, b, product.C, product.Ldc, product.Epilogue);
        }
        else
        {
            Gemm.Run(product);
        }

        return new ReadOnlySpan<float>(c, lengthC).ToArray();
    }

    /// <summary>One call and nothing else.</summary>
    public void RunOnce() => Gemm.Run(product);

    /// <summary>Fails unless the last run gave the plain sum's values, and touched nothing between the rows.</summary>
    public void AssertMatchesReference()
    {
        if (!hasExpected)
        {
            ComputeExpected();
            hasExpected = true;
        }

        double tolerance = 1e-6 * (4 + Math.Sqrt(product.K));
        for (int i = 0; i < lengthC; i++)
        {
            double error = Math.Max(Math.Abs(c[i] - expected[i]), Math.Abs(preActivation[i] - expectedPreActivation[i]));
            Assert.True(error <= tolerance, $"{this}: off by {error} at {i / product.Ldc}, {i % product.Ldc}");
        }
    }

    private void ComputeExpected()
    {
        Epilogue epilogue = product.Epilogue;
        new ReadOnlySpan<float>(start, lengthC).CopyTo(new Span<float>(expected, lengthC));
        new Span<float>(expectedPreActivation, lengthC).Fill(Guard);
        epilogue.PreActivation = parts.HasFlag(Parts.PreActivation) ? expectedPreActivation : null;
        epilogue.Residual = parts.HasFlag(Parts.ResidualInPlace) ? start : epilogue.Residual;
        Reference.Run(
            product.TransA, product.TransB, product.M, product.N, product.K, product.A, product.Lda, product.B, product.Ldb,
            expected, product.Ldc, epilogue);
    }

    private void Reset()
    {
        new ReadOnlySpan<float>(start, lengthC).CopyTo(new Span<float>(c, lengthC));
        new Span<float>(preActivation, lengthC).Fill(Guard);
    }

    private float* Random(int count)
    {
        float* memory = (float*)NativeMemory.Alloc((nuint)Math.Max(1, count), sizeof(float));
        owned.Add((nint)memory);
        for (int i = 0; i < count; i++)
        {
            memory[i] = (random.NextSingle() * 2) - 1;
        }

        return memory;
    }
}
