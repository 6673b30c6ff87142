using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>One step from maps to maps, before it is known where they are in memory.</summary>
internal abstract class Layer(Map output, params Map[] inputs)
{
    public Map[] Inputs { get; set; } = inputs;

    public Map Output { get; set; } = output;

    public Map Input => Inputs[0];
}

/// <summary>y = activation(conv(x') + bias + residual), x' being x or relu(scale · x + shift). A linear layer is one on a single
/// pixel or on token rows. Inputs: x, and the residual where there is one.</summary>
internal sealed class ConvLayer(Map output, Map input, Filters filters) : Layer(output, input)
{
    public Filters Filters { get; } = filters;

    public Strides Stride { get; init; } = 1;

    public Padding Padding { get; init; }

    public int Dilation { get; init; } = 1;

    public Activation Activation { get; set; }

    /// <summary>Whether GELU is the activation; only of a product of token rows without a residual.</summary>
    public bool Gelu { get; set; }

    /// <summary>See <see cref="Tensors.Kernels.Epilogue.Quick"/>.</summary>
    public float Quick { get; set; }

    /// <summary>Whether the network says that it is a linear layer.</summary>
    public bool IsLinear { get; init; }

    /// <summary>In which numbers a product of token rows is done.</summary>
    public Precision Precision { get; set; }

    /// <summary>Of a product of token rows with weights of codes: what its rows are rounded to as they are packed.</summary>
    public CodeStep? RowCodes { get; set; }

    /// <summary>Of a convolution of codes: what the result is rounded to before the residual is added.</summary>
    public CodeStep? Mid { get; set; }

    /// <summary>Of a convolution of codes: whether the residual is the first operand of the sum.</summary>
    public bool ResidualFirst { get; set; }

    /// <summary>Of a convolution of codes: the function after the residual.</summary>
    public Activation After { get; set; }

    /// <summary>Whether nothing is done to the sums yet that could not be done after more is added.</summary>
    public bool IsOpen => Activation == Activation.None && !Gelu;

    /// <summary>Whether it is a product of token rows with a matrix.</summary>
    public bool IsProduct => Input.Axis is not null && Filters is { Groups: 1, Taps: 1 } && Stride == 1 && !IsPadded
        && Activation == Activation.None && InputScale is null;

    /// <summary>[channels of x]; null where x is read as it is.</summary>
    public float[]? InputScale { get; set; }

    /// <summary>[channels of x], together with the scale.</summary>
    public float[]? InputShift { get; set; }

    public Map? Residual => Inputs.Length > 1 ? Inputs[1] : null;

    public bool IsPadded => Padding != default;
}

/// <summary>y = activation(scale · x + shift), a scale and shift for each channel; null for 1 and 0.</summary>
internal sealed class AffineLayer(Map output, Map input, float[]? scale, float[]? shift, Activation activation)
    : Layer(output, input)
{
    public float[]? Scale { get; } = scale;

    public float[]? Shift { get; } = shift;

    public Activation Activation { get; } = activation;

    public bool IsActivation => Scale is null && Shift is null;

    public float ScaleOf(int channel) => Scale is null ? 1 : Scale[channel];

    public float ShiftOf(int channel) => Shift is null ? 0 : Shift[channel];
}

/// <summary>Rounds numbers to those that codes stand for; to codes, where the output is such.</summary>
internal sealed class QuantiseLayer(Map output, Map input, CodeStep step) : Layer(output, input)
{
    public CodeStep Step { get; } = step;
}

/// <summary>What codes stand for.</summary>
internal sealed class DequantiseLayer(Map output, Map input) : Layer(output, input);

/// <summary>y = activation(a + b).</summary>
internal sealed class SumLayer(Map output, Map a, Map b) : Layer(output, a, b)
{
    public Activation Activation { get; set; }
}

/// <summary>y = x · s, s having one pixel: what squeeze and excitation ends with.</summary>
internal sealed class ScaleLayer(Map output, Map input, Map scale) : Layer(output, input, scale);

/// <summary>The largest value or the mean under a window.</summary>
internal sealed class PoolLayer(Map output, Map input) : Layer(output, input)
{
    public required bool IsMax { get; init; }

    public required int Kernel { get; init; }

    public required int Stride { get; init; }

    public required Padding Padding { get; init; }

    public bool CountsPadding { get; init; }
}

/// <summary>The mean over all pixels.</summary>
internal sealed class MeanLayer(Map output, Map input) : Layer(output, input);

/// <summary>The same values as one pixel, in the order in which they lie in memory: pixel by pixel.</summary>
internal sealed class FlattenLayer(Map output, Map input) : Layer(output, input);

/// <summary>
/// Any arrangement of channels: concatenation, slices, shuffles, lists of channels, zeros around them.
/// y[k] = inputs[From[k].Source][From[k].Channel] + shift[k], and only the shift where the source is negative.
/// </summary>
internal sealed class ArrangeLayer(Map output, Map[] inputs, (int Source, int Channel)[] from, float[]? shift = null)
    : Layer(output, inputs)
{
    public static readonly (int Source, int Channel) Nothing = (-1, -1);

    public (int Source, int Channel)[] From { get; } = from;

    public float[]? Shift { get; } = shift;

    public bool HasNothing => Array.Exists(From, f => f.Source < 0);

    /// <summary>Whether it is a stretch of one input's channels, which can stay where they are.</summary>
    public bool IsSlice
    {
        get
        {
            if (Shift is not null || Inputs.Length != 1) return false;
            for (int k = 0; k < From.Length; k++)
                if (From[k] != (0, From[0].Channel + k)) return false;
            return From[0].Channel >= 0;
        }
    }

    public bool IsIdentity => IsSlice && From[0].Channel == 0 && From.Length == Input.Channels;

    /// <summary>Whether it is all channels of all inputs, one after another.</summary>
    public bool IsConcat
    {
        get
        {
            if (Shift is not null) return false;
            int k = 0;
            for (int s = 0; s < Inputs.Length; s++)
                for (int c = 0; c < Inputs[s].Channels; c++, k++)
                    if (k >= From.Length || From[k] != (s, c)) return false;
            return k == From.Length;
        }
    }
}
