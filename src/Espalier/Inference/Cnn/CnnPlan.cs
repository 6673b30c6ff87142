using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>A network as steps over one block of memory, in the order in which they run.</summary>
internal sealed unsafe class CnnPlan : IDisposable
{
    private readonly List<Step> steps = [];
    private readonly Arena places;
    private readonly Map input, output;

    /// <summary>Takes what the network is now; it may change or go afterwards.</summary>
    /// <exception cref="EspalierException">There is no fast form of an op.</exception>
    public CnnPlan(ImageClassifier net)
    {
        using var scope = new Scope();
        NetGraph graph = OpReader.Read(net, out long multiplyAdds);
        MultiplyAdds = multiplyAdds;
        Folding.Run(graph);
        Placement.Run(graph);
        (input, output, places) = (graph.Input, graph.Output, new Arena(graph));
        try
        {
            foreach (Layer layer in graph.Layers) Add(layer);
            WeightBytes = steps.Sum(s => s.Bytes);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Of one image, as the literature counts them: before anything was folded.</summary>
    public long MultiplyAdds { get; }

    /// <summary>Floats that one image needs in memory.</summary>
    public long FloatsPerImage => places.FloatsPerImage;

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes { get; }

    /// <summary>All steps on some images.</summary>
    /// <param name="images">[count, C, S, S].</param>
    /// <param name="logits">[count, classes].</param>
    /// <param name="arena">Room for count images.</param>
    public void Run(float* images, int count, float* logits, float* arena)
    {
        Place first = places[input], last = places[output];
        NhwcLayout.FromNchw(count, input.Channels, input.Pixels, images, first.In(arena, count), first.Stride);
        foreach (Step step in steps) step.Run(arena, count);
        for (int i = 0; i < count; i++)
            new ReadOnlySpan<float>(last.In(arena, count) + (nint)i * last.Stride, output.Channels)
                .CopyTo(new Span<float>(logits + (nint)i * output.Channels, output.Channels));
    }

    public void Dispose()
    {
        foreach (Step step in steps) step.Dispose();
    }

    private void Add(Layer layer)
    {
        Place from = places[layer.Input], to = places[layer.Output];
        switch (layer)
        {
            case ConvLayer conv:
                Place? residual = conv.Residual is { } r ? places[r] : null;
                steps.Add(new ConvStep(Packed(conv), conv.Input, from, to, residual, conv.Activation, Native(conv.InputScale),
                    Native(conv.InputShift)));
                break;
            case AffineLayer affine:
                float[]? scale = affine.IsActivation ? null : affine.Scale ?? Ones(affine.Input.Channels);
                float[]? shift = scale is null ? null : affine.Shift ?? new float[scale.Length];
                steps.Add(new PassStep(affine.Input, from, to, null, Native(scale), Native(shift), affine.Activation));
                break;
            case SumLayer sum:
                steps.Add(new PassStep(sum.Input, from, to, places[sum.Inputs[1]], null, null, sum.Activation));
                break;
            case ScaleLayer scaled:
                steps.Add(new ScaleStep(scaled.Input, from, places[scaled.Inputs[1]], to));
                break;
            case PoolLayer pool:
                steps.Add(new PoolStep(pool, from, to));
                break;
            case MeanLayer:
                steps.Add(new MeanStep(layer.Input, from, to));
                break;
            case ArrangeLayer arrange:
                Arrange(arrange, to);
                break;
        }
    }

    /// <summary>The convolution, with outputs of zero weights up to a whole vector where there is room for them.</summary>
    private static PackedConv Packed(ConvLayer conv)
    {
        Filters filters = conv.Filters;
        int outputs = Math.Min(conv.Output.Writable, conv.Residual?.Writable ?? int.MaxValue), channels = filters.Channels;
        bool depthwise = filters.Groups > 1 && filters.Groups == channels && channels == filters.Outputs;
        if (depthwise && conv.InputScale is null && conv.Input.Writable >= outputs) channels = outputs;
        else if (filters.Groups > 1) outputs = filters.Outputs;
        int groups = depthwise ? channels : filters.Groups;
        using var weights = new NativeFloats((nint)outputs * (channels / groups) * filters.Taps);
        using var bias = new NativeFloats(outputs);
        filters.Write(weights.Data, bias.Data);
        var shape = new ConvShape(filters.KernelHeight, filters.KernelWidth, conv.Stride, conv.Padding, conv.Dilation);
        return PackedConv.Create(channels, outputs, groups, weights.Data, bias.Data, shape);
    }

    /// <summary>What is not where it should be already is moved there, then what has no source is filled in.</summary>
    private void Arrange(ArrangeLayer arrange, Place to)
    {
        int pixels = arrange.Output.Pixels;
        for (int s = 0; s < arrange.Inputs.Length; s++)
        {
            Place from = places[arrange.Inputs[s]];
            int[] k = [.. Enumerable.Range(0, arrange.From.Length).Where(k => arrange.From[k].Source == s)];
            int[] c = Array.ConvertAll(k, k => arrange.From[k].Channel);
            bool there = from.Offset == to.Offset && from.Stride == to.Stride
                && Enumerable.Range(0, k.Length).All(i => from.FirstChannel + c[i] == to.FirstChannel + k[i]);
            if (!there) steps.Add(new MoveStep(pixels, from, to, new ChannelMoves(c, k)));
        }
        int[] empty = [.. Enumerable.Range(0, arrange.From.Length).Where(k => arrange.From[k].Source < 0)];
        float[] shift = arrange.Shift ?? new float[arrange.From.Length];
        if (empty.Length > 0) steps.Add(new FillStep(pixels, to, Native(shift)!, new ChannelMoves(empty, empty)));
        foreach (int k in empty) shift[k] = 0;
        if (!Array.Exists(shift, v => v != 0)) return;
        steps.Add(new PassStep(arrange.Output, to, to, null, Native(Ones(shift.Length)), Native(shift), Activation.None));
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
