using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Linear;

[Collection("Workers")]
public sealed unsafe class PackedLinearBf16Tests : IDisposable
{
    private static readonly int[] Sizes = [1, 7, 17, 63, 65, 197];

    private readonly int threadsBefore = Workers.Threads;

    public static TheoryData<string> Kernels => DotKernelList.Bf16;

    public void Dispose() => Workers.Threads = threadsBefore;

    [Theory]
    [MemberData(nameof(Kernels))]
    public void IsTheProductOfItsRoundedOperands(string name)
    {
        Parts[] epilogues = [Parts.None, Parts.Bias, Parts.Bias | Parts.Gelu, Parts.Bias | Parts.ResidualInPlace];
        int round = 0;
        foreach (int rows in Sizes)
        {
            foreach (int outputs in Sizes)
            {
                foreach (int inputs in Sizes)
                {
                    if (++round % 3 != 0)
                    {
                        continue;
                    }

                    Workers.Threads = 1 + (round % 2);
                    using var problem = new LinearProblem(rows, outputs, inputs, epilogues[round % epilogues.Length]);
                    using var layer = new PackedLinearBf16(outputs, inputs, problem.Weights, DotKernelList.Get(name));
                    float[] y = problem.Run(layer);
                    problem.AssertIs(y, (row, output) => problem.Finish(row, output, Product(problem, row, output)), 1e-5, name);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void NotANumberAndInfinityPassThrough(string name)
    {
        const int Rows = 9, Outputs = 40, Inputs = 50;
        using var problem = new LinearProblem(Rows, Outputs, Inputs, Parts.Bias);
        problem.X[(2 * problem.Ldx) + 49] = float.NaN;
        problem.X[5 * problem.Ldx] = float.NegativeInfinity;
        using var layer = new PackedLinearBf16(Outputs, Inputs, problem.Weights, DotKernelList.Get(name));
        float[] y = problem.Run(layer);
        for (int i = 0; i < Rows; i++)
        {
            for (int j = 0; j < Outputs; j++)
            {
                float value = y[(i * problem.Ldy) + j];
                Assert.True(i == 2 ? float.IsNaN(value) : i == 5 ? float.IsInfinity(value) : float.IsFinite(value));
            }
        }
    }

    [Fact]
    public void WithoutAnInstructionItIsRefusedInOneLine()
    {
        if (DotKernels.Bf16.Tile is null)
        {
            var refused = Assert.Throws<EspalierException>(() => PackedLinear.Create(Precision.Bf16, 1, 1, null));
            Assert.Contains("use fp32", refused.Message);
        }

        (DotTile? tile, string reason) = DotKernels.ChooseBf16(assembled: false);
        Assert.Null(tile);
        Assert.Contains("use fp32 or int8", reason);
        Assert.DoesNotContain('\n', reason);
    }

    private static double Product(LinearProblem problem, int row, int output)
    {
        double sum = 0;
        for (int k = 0; k < problem.Inputs; k++)
        {
            sum += Rounded(problem.X[(row * problem.Ldx) + k]) * Rounded(problem.Weights[(output * problem.Inputs) + k]);
        }

        return sum;
    }

    private static double Rounded(float x) => BitConverter.UInt32BitsToSingle((uint)Bf16Rows.Round(x) << 16);
}
