using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Linear;

[Collection("Workers")]
public sealed unsafe class PackedLinearInt8Tests : IDisposable
{
    private static readonly int[] Sizes = [1, 7, 17, 63, 65, 197];
    private static readonly Parts[] Epilogues =
    [
        Parts.None, Parts.Bias, Parts.Bias | Parts.Gelu, Parts.Bias | Parts.Residual, Parts.ResidualInPlace,
        Parts.Bias | Parts.Gelu | Parts.Residual,
    ];

    private readonly int threadsBefore = Workers.Threads;

    public static TheoryData<string> Kernels => DotKernelList.Int8;

    public void Dispose() => Workers.Threads = threadsBefore;

    [Theory]
    [MemberData(nameof(Kernels))]
    public void IsTheExactProductOfItsRoundedOperands(string name)
    {
        int round = 0;
        foreach (int rows in Sizes)
        {
            foreach (int outputs in Sizes)
            {
                foreach (int inputs in Sizes)
                {
                    // Every third combination meets each pair of sizes.
                    if (++round % 3 == 0)
                    {
                        Check(name, rows, outputs, inputs, Epilogues[round % Epilogues.Length], 1 + (round % 2));
                    }
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void BlocksAndGridsDoNotShow(string name)
    {
        // Several blocks of rows; a few rows against many panels; each with parts in both directions.
        foreach ((int rows, int outputs, int inputs) in new[] { (300, 520, 1030), (5, 700, 300), (40, 40, 3000) })
        {
            using var problem = new LinearProblem(rows, outputs, inputs, Parts.Bias | Parts.Residual);
            using var layer = new PackedLinearInt8(outputs, inputs, problem.Weights, DotKernelList.Get(name));
            Workers.Threads = 1;
            float[] expected = problem.Run(layer);
            foreach (int threads in new[] { 2, 3, 8 })
            {
                Workers.Threads = threads;
                Assert.Equal(expected, problem.Run(layer));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void NotANumberDoesNotVanish(string name)
    {
        const int Rows = 9, Outputs = 40, Inputs = 50;
        using var problem = new LinearProblem(Rows, Outputs, Inputs, Parts.Bias | Parts.Gelu | Parts.Residual);
        problem.X[(2 * problem.Ldx) + 49] = float.NaN;
        problem.X[5 * problem.Ldx] = float.NegativeInfinity;
        problem.Weights[(33 * Inputs) + 1] = float.PositiveInfinity;
        using var layer = new PackedLinearInt8(Outputs, Inputs, problem.Weights, DotKernelList.Get(name));
        float[] y = problem.Run(layer);
        for (int i = 0; i < Rows; i++)
        {
            for (int j = 0; j < Outputs; j++)
            {
                Assert.Equal(i is 2 or 5 || j == 33, float.IsNaN(y[(i * problem.Ldy) + j]));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void ARowOfZerosGivesTheBias(string name)
    {
        using var problem = new LinearProblem(3, 20, 33, Parts.Bias);
        new Span<float>(problem.X + problem.Ldx, 33).Clear();
        using var layer = new PackedLinearInt8(20, 33, problem.Weights, DotKernelList.Get(name));
        float[] y = problem.Run(layer);
        for (int j = 0; j < 20; j++)
        {
            Assert.Equal(problem.Epilogue.Bias[j], y[problem.Ldy + j]);
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void TheWidestLayerDoesNotOverflow(string name)
    {
        const int Inputs = PackedLinearInt8.MaxInputs;
        using var problem = new LinearProblem(2, 1, Inputs, Parts.None);
        new Span<float>(problem.X, 2 * problem.Ldx).Fill(1f);
        new Span<float>(problem.Weights, Inputs).Fill(-1f);
        using var layer = new PackedLinearInt8(1, Inputs, problem.Weights, DotKernelList.Get(name));
        float[] y = problem.Run(layer);
        Assert.Equal(-Inputs, y[0], Inputs * 1e-6);
        Assert.Equal(-Inputs, y[problem.Ldy], Inputs * 1e-6);
        Assert.Contains("too wide", Assert.Throws<EspalierException>(
            () => new PackedLinearInt8(1, Inputs + 1, null, DotKernelList.Get(name))).Message);
    }

    [Fact]
    public void IsCloseToSinglePrecision()
    {
        if (DotKernels.Int8.Tile is null)
        {
            var refused = Assert.Throws<EspalierException>(() => PackedLinear.Create(Precision.Int8, 1, 1, null));
            Assert.Contains("use fp32", refused.Message);
            return;
        }

        using var problem = new LinearProblem(50, 96, 192, Parts.Bias);
        using PackedLinear int8 = PackedLinear.Create(Precision.Int8, 96, 192, problem.Weights);
        using PackedLinear fp32 = PackedLinear.Create(Precision.Fp32, 96, 192, problem.Weights);
        float[] expected = problem.Run(fp32), actual = problem.Run(int8);
        double error = 0, size = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            error += Math.Pow(expected[i] - actual[i], 2);
            size += expected[i] == LinearProblem.Guard ? 0 : Math.Pow(expected[i], 2);
        }

        Assert.InRange(Math.Sqrt(error / size), 1e-4, 0.02);
        Assert.True(int8.Bytes < fp32.Bytes / 3);
    }

    [Fact]
    public void RefusesWhatOnlyTrainingNeeds()
    {
        using var problem = new LinearProblem(2, 3, 4, Parts.None);
        using var layer = new PackedLinearInt8(3, 4, problem.Weights, new Int8TilePortable());
        nint y = (nint)problem.Floats(10);
        Assert.Throws<ArgumentException>(
            () => layer.Run(1, problem.X, 4, (float*)y, 3, new Epilogue { Accumulate = true }));
        Assert.Throws<ArgumentException>(
            () => layer.Run(1, problem.X, 4, (float*)y, 3, new Epilogue { Gelu = true, PreActivation = (float*)y }));
        layer.Dispose();
        Assert.Throws<ObjectDisposedException>(() => layer.Run(1, problem.X, 4, (float*)y, 3, default));
    }

    private static void Check(string name, int rows, int outputs, int inputs, Parts parts, int threads)
    {
        Workers.Threads = threads;
        using var problem = new LinearProblem(rows, outputs, inputs, parts);
        using var layer = new PackedLinearInt8(outputs, inputs, problem.Weights, DotKernelList.Get(name));
        float[] y = problem.Run(layer);
        (sbyte[] w, float[] scales) = Int8Weights.Quantise(outputs, inputs, problem.Weights);
        int[] x = new int[rows * inputs];
        float[] rowScales = new float[rows];
        for (int i = 0; i < rows; i++)
        {
            float* row = problem.X + (i * problem.Ldx);
            rowScales[i] = Int8Rows.Scale(row, inputs);
            for (int k = 0; k < inputs; k++)
            {
                x[(i * inputs) + k] = (int)MathF.Round(row[k] * (1f / rowScales[i]));
            }
        }

        problem.AssertIs(y, (row, output) => problem.Finish(row, output, Product(row, output)), 2e-6, name);

        double Product(int row, int output)
        {
            long sum = 0;
            for (int k = 0; k < inputs; k++)
            {
                sum += x[(row * inputs) + k] * w[(output * inputs) + k];
            }

            return sum * (double)rowScales[row] * scales[output];
        }
    }
}
