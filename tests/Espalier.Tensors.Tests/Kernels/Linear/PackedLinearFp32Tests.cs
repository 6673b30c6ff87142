using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Linear;

[Collection("Workers")]
public sealed unsafe class PackedLinearFp32Tests : IDisposable
{
    private static readonly int[] Rows = [1, 2, 13, 14, 15, 29, 197];
    private static readonly int[] Outputs = [1, 15, 16, 17, 32, 33, 100, 192];

    // Rows of 1021 floats and the gap behind them are 1024 apart: those are copied first.
    private static readonly int[] Inputs = [1, 3, 64, 197, 1021];

    private static readonly Parts[] Epilogues =
    [
        Parts.None, Parts.Bias, Parts.Bias | Parts.Gelu, Parts.Gelu, Parts.Bias | Parts.Residual, Parts.Residual,
        Parts.Bias | Parts.ResidualInPlace, Parts.Bias | Parts.Gelu | Parts.Residual, Parts.Bias | Parts.Accumulate,
        Parts.Accumulate | Parts.Residual,
    ];

    private readonly int threadsBefore = Workers.Threads;

    /// <summary>Whether the tile is the assembled one.</summary>
    public static TheoryData<bool> Kernels => ConvTile.Instance == null ? [false] : [false, true];

    public void Dispose() => Workers.Threads = threadsBefore;

    [Theory]
    [MemberData(nameof(Kernels))]
    public void IsTheProductAndItsEpilogue(bool direct)
    {
        int round = 0;
        foreach (int rows in Rows)
        {
            foreach (int outputs in Outputs)
            {
                foreach (int inputs in Inputs)
                {
                    Workers.Threads = 1 + (++round % 3);
                    using var problem = new LinearProblem(rows, outputs, inputs, Epilogues[round % Epilogues.Length]);
                    using PackedLinear layer = Create(direct, problem);
                    float[] y = problem.Run(layer);
                    string name = layer.GetType().Name;
                    problem.AssertIs(y, (row, output) => problem.Finish(row, output, Product(problem, row, output)), 1e-4, name);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void TheValuesBeforeGeluAreKept(bool direct)
    {
        using var problem = new LinearProblem(31, 50, 40, Parts.Bias);
        using PackedLinear layer = Create(direct, problem);
        float[] plain = problem.Run(layer);
        float* before = problem.Floats(31 * problem.Ldy);
        float* y = problem.Floats(31 * problem.Ldy);
        Epilogue epilogue = problem.Epilogue;
        epilogue.Gelu = true;
        epilogue.PreActivation = before;
        layer.Run(31, problem.X, problem.Ldx, y, problem.Ldy, epilogue);
        for (int row = 0; row < 31; row++)
        {
            int at = row * problem.Ldy;
            Assert.True(plain.AsSpan(at, 50).SequenceEqual(new ReadOnlySpan<float>(before + at, 50)));
            Assert.NotEqual(before[at], y[at]);
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void GeluDoesNotAddToY(bool direct)
    {
        using var problem = new LinearProblem(3, 5, 4, Parts.Bias | Parts.Gelu | Parts.ResidualInPlace);
        using PackedLinear layer = Create(direct, problem);
        Assert.Throws<ArgumentException>(() => problem.Run(layer));
    }

    [Fact]
    public void TheAssembledTileIsTakenWhereThereIsOne()
    {
        using var problem = new LinearProblem(3, 5, 4, Parts.Bias);
        using PackedLinear layer = PackedLinear.Create(Precision.Fp32, 5, 4, problem.Weights);
        Assert.Equal(ConvTile.Instance != null && KernelInfo.Tiles == TileSet.Avx512, layer is PackedLinearDirect);
    }

    private static PackedLinear Create(bool direct, LinearProblem problem) => direct
        ? new PackedLinearDirect(problem.Outputs, problem.Inputs, problem.Weights, ConvTile.Instance!)
        : new PackedLinearFp32(problem.Outputs, problem.Inputs, problem.Weights);

    private static double Product(LinearProblem problem, int row, int output)
    {
        double sum = 0;
        for (int k = 0; k < problem.Inputs; k++)
            sum += (double)problem.X[(row * problem.Ldx) + k] * problem.Weights[(output * problem.Inputs) + k];
        return sum;
    }
}
