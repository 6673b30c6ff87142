using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

/// <summary>A random linear layer in native memory: rows further apart than they are long, guard values around y.</summary>
internal sealed unsafe class LinearProblem : IDisposable
{
    public const float Guard = 12345f;

    private readonly List<nint> owned = [];
    private readonly Random random = new(11);
    private readonly float* y;
    private readonly bool inPlace, accumulate;
    private readonly float* before;

    public LinearProblem(int rows, int outputs, int inputs, Parts parts)
    {
        (Rows, Outputs, Inputs) = (rows, outputs, inputs);
        (Ldx, Ldy) = (inputs + 3, outputs + 2);
        X = Floats(rows * Ldx);
        Weights = Floats(outputs * inputs);
        Bias = Floats(outputs);
        Residual = Floats(rows * Ldy);
        y = Floats(rows * Ldy);
        Gelu = parts.HasFlag(Parts.Gelu);
        inPlace = parts.HasFlag(Parts.ResidualInPlace);
        accumulate = parts.HasFlag(Parts.Accumulate);
        before = Floats(rows * Ldy);
        Epilogue = new Epilogue
        {
            Bias = parts.HasFlag(Parts.Bias) ? Bias : null,
            Gelu = Gelu,
            Residual = inPlace ? y : parts.HasFlag(Parts.Residual) ? Residual : null,
            LdResidual = Ldy,
            Accumulate = accumulate,
        };
    }

    public int Rows { get; }

    public int Outputs { get; }

    public int Inputs { get; }

    public int Ldx { get; }

    public int Ldy { get; }

    public float* X { get; }

    public float* Weights { get; }

    public bool Gelu { get; }

    public Epilogue Epilogue { get; }

    private float* Bias { get; }

    private float* Residual { get; }

    /// <summary>y [rows, ldy] of one run, what lies between the rows included.</summary>
    public float[] Run(PackedLinear layer)
    {
        var target = new Span<float>(y, Rows * Ldy);
        target.Fill(Guard);
        if (inPlace || accumulate)
        {
            new ReadOnlySpan<float>(inPlace ? Residual : before, Rows * Ldy).CopyTo(target);
        }

        layer.Run(Rows, X, Ldx, y, Ldy, Epilogue);
        return target.ToArray();
    }

    /// <summary>gelu(product + bias) + residual in double precision, on top of what y held if that is added to.</summary>
    public double Finish(int row, int output, double product)
    {
        double value = product + (Epilogue.Bias == null ? 0 : Bias[output]);
        value = Gelu ? value * 0.5 * (1 + Erf(value / Math.Sqrt(2))) : value;
        value += accumulate ? before[(row * Ldy) + output] : 0;
        return value + (Epilogue.Residual == null ? 0 : Residual[(row * Ldy) + output]);
    }

    /// <summary>Fails unless y has the values that <paramref name="expected"/> gives for a row and an output, to
    /// <paramref name="tolerance"/>, and the places between the rows what they had.</summary>
    public void AssertIs(float[] y, Func<int, int, double> expected, double tolerance, string name)
    {
        for (int row = 0; row < Rows; row++)
        {
            for (int output = 0; output < Ldy; output++)
            {
                int at = (row * Ldy) + output;
                float actual = y[at];
                string where = $"{name} {Rows}x{Outputs}x{Inputs}, row {row}, output {output}";
                if (output >= Outputs)
                {
                    Assert.True(actual == (inPlace ? Residual[at] : accumulate ? before[at] : Guard), $"{where} was overwritten");
                    continue;
                }

                double wanted = expected(row, output);
                Assert.True(Math.Abs(actual - wanted) <= tolerance * (1 + Math.Abs(wanted)), $"{where}: {actual}, not {wanted}");
            }
        }
    }

    public float* Floats(int count)
    {
        float* memory = (float*)NativeMemory.Alloc((nuint)Math.Max(1, count), sizeof(float));
        owned.Add((nint)memory);
        for (int i = 0; i < count; i++)
        {
            memory[i] = (random.NextSingle() * 2) - 1;
        }

        return memory;
    }

    public void Dispose() => owned.ForEach(memory => NativeMemory.Free((void*)memory));

    // The series around 0, good to 1e-6 where it is used.
    private static double Erf(double x)
    {
        double sum = 0, term = x;
        for (int n = 0; n < 200; n++)
        {
            sum += term / ((2 * n) + 1);
            term *= -x * x / (n + 1);
        }

        return Math.Abs(x) > 5 ? Math.Sign(x) : sum * 2 / Math.Sqrt(Math.PI);
    }
}
