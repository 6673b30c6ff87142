using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

/// <summary>A random convolution over NHWC images with gaps between the pixels, beside the sum as the definition says it.
/// </summary>
internal sealed unsafe class ConvCase
{
    public int Images { get; init; } = 1;

    public int Height { get; init; } = 8;

    public int Width { get; init; } = 8;

    public int Channels { get; init; } = 16;

    public int Outputs { get; init; } = 16;

    public int Groups { get; init; } = 1;

    public ConvShape Shape { get; init; } = new(1, 1, 1, 0);

    /// <summary>Floats between the end of a pixel and the next one.</summary>
    public int Gap { get; init; } = 3;

    public bool Bias { get; init; } = true;

    public bool Residual { get; init; }

    /// <summary>Whether y holds the residual.</summary>
    public bool InPlace { get; init; }

    public bool Prologue { get; init; }

    public Activation Activation { get; init; }

    /// <summary>Whether there is a NaN in x, and one in the residual.</summary>
    public bool NaN { get; init; }

    public override string ToString() =>
        $"{Images}x{Height}x{Width}x{Channels} -> {Outputs}, {Shape}, groups {Groups}, gap {Gap}, bias {Bias}, " +
        $"residual {Residual}/{InPlace}, prologue {Prologue}, {Activation}, NaN {NaN}";

    /// <summary>Runs the packed convolution that <paramref name="create"/> makes and holds it against the sum.</summary>
    /// <param name="tolerance">Of the largest sum of absolute products.</param>
    public void Check(Func<ConvCase, nint, nint, PackedConv> create, double tolerance = 2e-6, int runs = 1)
    {
        Window window = Shape.Over(Height, Width);
        int ldx = Channels + Gap, ldy = Outputs + (2 * Gap), ldr = Outputs + Gap;
        int pixels = Images * window.Area, outPixels = Images * window.OutArea;
        using var x = GuardedFloats.Random(Math.Max(1, (pixels * ldx) - Gap), 1);
        using var weight = GuardedFloats.Random(Outputs * (Channels / Groups) * Shape.Taps, 2);
        using var bias = GuardedFloats.Random(Outputs, 3);
        using var residual = GuardedFloats.Random(Math.Max(1, outPixels * ldy), 4);
        using var scale = GuardedFloats.Random(Channels, 5);
        using var shift = GuardedFloats.Random(Channels, 6);
        using var y = new GuardedFloats(Math.Max(1, (outPixels * ldy) - (2 * Gap)));
        if (NaN)
        {
            x[(pixels - 1) * ldx] = float.NaN;
            residual[Math.Min(Outputs / 2, residual.Length - 1)] = float.NaN;
        }

        using PackedConv conv = create(this, (nint)weight.Pointer, Bias ? (nint)bias.Pointer : 0);
        var epilogue = new ConvEpilogue
        {
            Residual = InPlace ? y.Pointer : Residual ? residual.Pointer : null,
            LdResidual = InPlace ? ldy : ldr,
            Activation = Activation,
            InputScale = Prologue ? scale.Pointer : null,
            InputShift = Prologue ? shift.Pointer : null,
        };
        for (int run = 0; run < runs; run++)
        {
            residual.Span[..y.Length].CopyTo(y.Span);
            conv.Run(Images, Height, Width, x.Pointer, ldx, y.Pointer, ldy, epilogue);
        }

        epilogue.Residual = epilogue.Residual == null ? null : residual.Pointer;
        double[] expected = Reference(x.Pointer, ldx, weight.Pointer, Bias ? bias.Pointer : null, epilogue, out double largest);
        for (int p = 0; p < outPixels; p++)
        {
            for (int o = 0; o < Outputs; o++)
            {
                double want = expected[(p * Outputs) + o], error = Math.Abs(y[(p * ldy) + o] - want);
                // The transforms of Winograd's convolution mix the pixels of a tile, and so spread a NaN over it.
                bool right = NaN && float.IsNaN(y[(p * ldy) + o]) ? double.IsNaN(want) || conv is WinogradConv
                    : error <= tolerance * (1 + largest);
                Assert.True(right, $"{this}: pixel {p}, output {o}: {want}, got {y[(p * ldy) + o]}");
            }

            for (int i = (p * ldy) + Outputs; i < Math.Min(y.Length, (p + 1) * ldy); i++)
                Assert.True(y[i] == residual[i], $"{this}: the gap behind pixel {p} was written");
        }
    }

    private double[] Reference(
        float* x, int ldx, float* weight, float* bias, in ConvEpilogue epilogue, out double largest)
    {
        Window window = Shape.Over(Height, Width);
        int inputs = Channels / Groups, groupOutputs = Outputs / Groups;
        var y = new double[Images * window.OutArea * Outputs];
        largest = 0;
        for (int i = 0; i < y.Length; i++)
        {
            int o = i % Outputs, pixel = i / Outputs, row = pixel % window.OutArea / window.OutWidth;
            double sum = bias == null ? 0 : bias[o], size = 0;
            for (int tap = 0; tap < window.Taps; tap++)
            {
                int ky = tap / window.KernelWidth, kx = tap % window.KernelWidth;
                int inRow = window.Row(row, ky), inColumn = window.Column(pixel % window.OutWidth, kx);
                if ((uint)inRow >= (uint)Height || (uint)inColumn >= (uint)Width) continue;
                float* at = x + ((((pixel / window.OutArea * Height) + inRow) * Width) + inColumn) * ldx;
                for (int c = 0; c < inputs; c++)
                {
                    int channel = (o / groupOutputs * inputs) + c;
                    double value = at[channel];
                    if (epilogue.InputScale != null)
                        value = Math.Max(0, (value * epilogue.InputScale[channel]) + epilogue.InputShift[channel]);
                    double product = value * weight[((((o * inputs) + c) * window.KernelHeight) + ky) * window.KernelWidth + kx];
                    sum += product;
                    if (!double.IsNaN(product)) size += Math.Abs(product);
                }
            }

            if (epilogue.Residual != null) sum += epilogue.Residual[(pixel * epilogue.LdResidual) + o];
            largest = Math.Max(largest, size);
            y[i] = Activate(epilogue.Activation, sum);
        }

        return y;
    }

    private static double Activate(Activation f, double x) => f switch
    {
        Activation.Relu => Math.Max(x, 0),
        Activation.Relu6 => Math.Min(Math.Max(x, 0), 6),
        Activation.Silu => x / (1 + Math.Exp(-x)),
        Activation.Sigmoid => 1 / (1 + Math.Exp(-x)),
        _ => x,
    };
}
