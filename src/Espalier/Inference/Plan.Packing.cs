using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>How weights are packed for the steps.</summary>
internal sealed unsafe partial class Plan
{
    private NativeFloats? scratch;

    private ProductStep Product(ConvLayer conv, Place from, Place to)
    {
        Filters filters = conv.Filters;
        var bias = new NativeFloats(filters.Outputs);
        float* weights = Scratch(filters.Length);
        if (conv.RowCodes is { } rows)
        {
            float[] scales = new float[filters.Outputs];
            sbyte[] codes = new sbyte[filters.Length];
            fixed (float* s = scales)
            fixed (sbyte* c = codes)
            {
                filters.WriteCodes(c, weights, s, bias.Data);
                DotTile tile = DotKernels.Int8.Tile ?? new Int8TilePortable();
                var rounded = new PackedLinearCodes(filters.Outputs, filters.Channels, c, s, rows, tile);
                return new ProductStep(rounded, bias, conv.Input, from, to, Residual(conv), conv.Gelu, conv.Quick);
            }
        }
        filters.Write(weights, bias.Data);
        var packed = PackedLinear.Create(conv.Precision, filters.Outputs, filters.Channels, weights);
        return new ProductStep(packed, bias, conv.Input, from, to, Residual(conv), conv.Gelu, conv.Quick);
    }

    /// <summary>A convolution of codes; its sums begin with the bias in whole numbers.</summary>
    private CodesConvStep Codes(ConvLayer conv, Place from, Place to)
    {
        Filters filters = conv.Filters;
        CodeStep x = conv.Input.Codes!.Value;
        int outputs = filters.Outputs;
        var scales = new NativeFloats(Blocking.RoundUp(outputs, ConvTile.Columns) + ConvTile.Columns);
        sbyte[] codes = new sbyte[filters.Length];
        float[] bias = new float[outputs];
        int[] start = new int[outputs];
        var shape = new ConvShape(filters.KernelHeight, filters.KernelWidth, conv.Stride, conv.Padding, conv.Dilation);
        fixed (sbyte* c = codes)
        fixed (float* b = bias)
        fixed (int* s = start)
        {
            filters.WriteCodes(c, Scratch(filters.Length), scales.Data, b);
            for (int o = 0; o < outputs; o++)
            {
                scales.Data[o] *= x.Scale;
                s[o] = (int)Math.Clamp(Math.Round((double)b[o] / scales.Data[o]), -Filters.MostBias, Filters.MostBias);
            }
            CodesConv packed = CodesConv.Create(filters.Channels, outputs, filters.Groups, c, s, x.Zero, shape);
            return new CodesConvStep(packed, conv, scales, from, to, Residual(conv));
        }
    }

    /// <summary>The convolution, with outputs of zero weights up to a whole vector where there is room for them.</summary>
    private PackedConv Packed(ConvLayer conv)
    {
        Filters filters = conv.Filters;
        int outputs = Math.Min(conv.Output.Writable, conv.Residual?.Writable ?? int.MaxValue), channels = filters.Channels;
        bool depthwise = filters.Groups > 1 && filters.Groups == channels && channels == filters.Outputs;
        if (depthwise && conv.InputScale is null && conv.Input.Writable >= outputs) channels = outputs;
        else if (filters.Groups > 1) outputs = filters.Outputs;
        int groups = depthwise ? channels : filters.Groups;
        long length = (long)outputs * (channels / groups) * filters.Taps;
        float* weights = Scratch(length);
        for (long i = filters.Length; i < length; i++) weights[i] = 0;
        using var bias = new NativeFloats(outputs);
        filters.Write(weights, bias.Data);
        var shape = new ConvShape(filters.KernelHeight, filters.KernelWidth, conv.Stride, conv.Padding, conv.Dilation);
        return PackedConv.Create(channels, outputs, groups, weights, bias.Data, shape);
    }

    /// <summary>Room for the weights of the layer that is being packed.</summary>
    private float* Scratch(long floats)
    {
        if (scratch is null || scratch.Length < floats)
        {
            scratch?.Dispose();
            scratch = null;
            scratch = new NativeFloats(checked((nint)floats), cleared: false);
        }
        return scratch.Data;
    }

    private static float[] Ones(int count)
    {
        float[] ones = new float[count];
        Array.Fill(ones, 1);
        return ones;
    }

    private static NativeFloats? Native(float[]? values)
    {
        if (values is null) return null;
        var native = new NativeFloats(values.Length);
        values.CopyTo(new Span<float>(native.Data, values.Length));
        return native;
    }
}
