using System.Diagnostics;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>A network as steps over one block of memory, in the order in which they run.</summary>
internal sealed unsafe partial class Plan : IDisposable
{
    private readonly List<Step> steps = [];
    private readonly List<KeepStep[]?> scoring = [];
    private readonly List<int> layerOf = [];
    private readonly Arena places;
    private readonly Reading input;
    private readonly Reading[] outputs;
    private readonly RowAxis? tokens;
    private ImageCodes? pictures;

    /// <summary>Takes what the weights are now; they may change or go afterwards.</summary>
    /// <param name="read">Reads weights that are shapes only.</param>
    /// <exception cref="EspalierException">The graph cannot be computed image by image, nothing of it is done in the precision,
    /// or this processor has no kernel for that.</exception>
    public Plan(Graph graph, Precision precision, WeightReader? read)
    {
        NetGraph net = Compile(graph, precision, new Constants(read), out input, out outputs, out RowAxis[] axes);
        (Axes, OutputValues) = (axes, [.. outputs.Select(o => (int)o.ValuesPerImage)]);
        places = new Arena(net);
        tokens = TokensOf(net);
        try
        {
            Build(net);
            WeightBytes = steps.Sum(s => s.Bytes);
        }
        catch
        {
            Dispose();
            throw;
        }
        finally
        {
            scratch?.Dispose();
        }
    }

    /// <summary>What would be compiled, without packing any weights.</summary>
    /// <inheritdoc cref="Plan(Graph, Precision, WeightReader)" path="/param"/>
    public static PlanShape ShapeOf(Graph graph, Precision precision, WeightReader? read)
    {
        NetGraph net = Compile(graph, precision, new Constants(read), out _, out _, out _);
        return new PlanShape([.. net.Layers.Select(StepShape.Of)], new Arena(net).FloatsPerImage,
            graph.ReadWeights().Sum(w => sizeof(float) * w.Shape.Length), TokensOf(net)?.Most ?? 0);
    }

    /// <summary>The layers that the steps belong to.</summary>
    public StepShape[] Shapes { get; private set; } = [];

    /// <summary>Floats that one image needs in memory.</summary>
    public long FloatsPerImage => places.FloatsPerImage;

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes { get; }

    /// <summary>The sets of token rows.</summary>
    public RowAxis[] Axes { get; }

    /// <summary>How often rows are dropped.</summary>
    public int Stages { get; private set; }

    /// <summary>Rows of an image before any are dropped; 0 of a network without tokens.</summary>
    public int Tokens => tokens?.Most ?? 0;

    /// <summary>Values of an image that go in.</summary>
    public long InputValues => input.ValuesPerImage;

    /// <summary>Values of an image that come out, of each output.</summary>
    public int[] OutputValues { get; }

    /// <summary>All steps on the images of a lane.</summary>
    /// <param name="images">[images, ..].</param>
    /// <param name="results">[batch, ..] of each output, one after another.</param>
    /// <param name="first">Which image of the batch the first of these is.</param>
    public void Run(Lane lane, float* images, float* results, int first, int batch)
    {
        Enter(lane, images);
        for (int i = 0; i < steps.Count; i++)
            if (IsWanted(scoring[i], lane)) steps[i].Run(lane);
        foreach (Reading output in outputs)
        {
            output.CopyOut(lane, places[output.Map], results + first * output.ValuesPerImage);
            results += batch * output.ValuesPerImage;
        }
    }

    /// <summary>The same, and notes how long each layer took where that is less than before.</summary>
    /// <param name="least">[layers] in ticks of the stopwatch.</param>
    public void RunTimed(Lane lane, float* images, float* results, Span<long> least)
    {
        Span<long> took = stackalloc long[least.Length];
        took.Clear();
        Enter(lane, images);
        long before = Stopwatch.GetTimestamp();
        for (int i = 0; i < steps.Count; i++)
        {
            if (IsWanted(scoring[i], lane)) steps[i].Run(lane);
            long now = Stopwatch.GetTimestamp();
            took[layerOf[i]] += now - before;
            before = now;
        }
        for (int i = 0; i < took.Length; i++) least[i] = Math.Min(least[i], took[i]);
        foreach (Reading output in outputs)
        {
            output.CopyOut(lane, places[output.Map], results);
            results += lane.Images * output.ValuesPerImage;
        }
    }

    public void Dispose()
    {
        foreach (Step step in steps) step.Dispose();
    }

    private static NetGraph Compile(Graph graph, Precision precision, Constants constants, out Reading input, out Reading[] outputs,
        out RowAxis[] axes)
    {
        NetGraph net = GraphReader.Read(graph.Prepared(training: false), constants, out input, out outputs, out axes);
        bool any = Products.SetPrecision(net, precision);
        if (precision != Precision.Fp32 && !any)
            throw new EspalierException($"this network has no linear layers on tokens to be done in {precision}; use Fp32");
        Folding.Run(net);
        CodeMaps.Run(net);
        Products.Stack(net);
        Products.Join(net);
        Placement.Run(net);
        // Passes may have put other maps in the place of those that were read.
        outputs = [.. outputs.Zip(net.Outputs, (output, map) => output with { Map = map })];
        return net;
    }

    private static RowAxis? TokensOf(NetGraph net) => net.Layers.OfType<KeepLayer>().FirstOrDefault()?.Input.Axis
        ?? net.Layers.OfType<AttentionLayer>().FirstOrDefault()?.Inputs[1].Axis;

    private void Enter(Lane lane, float* images)
    {
        if (pictures is not null) pictures.Run(lane, images);
        else input.CopyIn(lane, images, places[input.Map]);
        if (tokens is { IsUniform: true }) lane.Note(tokens, 0);
    }

    /// <summary>Whether a step that only makes scores for some others makes them for nothing.</summary>
    private static bool IsWanted(KeepStep[]? keeps, Lane lane)
    {
        if (keeps is null) return true;
        foreach (KeepStep keep in keeps) if (keep.LooksAtScores(lane)) return true;
        return false;
    }

    private void Build(NetGraph net)
    {
        Dictionary<Layer, KeepLayer[]> onlyScores = Products.Scoring(net);
        var keeps = new Dictionary<KeepLayer, KeepStep>();
        QuantiseLayer? first = ImageCodes.LayerOf(net, input);
        if (first is not null) pictures = new ImageCodes(first, places[first.Output]);
        Shapes = [.. net.Layers.Select(StepShape.Of)];
        for (int i = 0; i < net.Layers.Count; i++)
        {
            foreach (Step step in net.Layers[i] == first ? [] : StepsOf(net.Layers[i]))
            {
                steps.Add(step);
                layerOf.Add(i);
                if (step is KeepStep keep) keeps.Add((KeepLayer)net.Layers[i], keep);
            }
        }
        scoring.AddRange(layerOf.Select(i => onlyScores.GetValueOrDefault(net.Layers[i])?.Select(k => keeps[k]).ToArray()));
        // Steps keep their maps; the weights of the layers may go.
        foreach (Map map in net.Layers.SelectMany(l => l.Inputs.Append(l.Output)))
        {
            map.Producer = null;
            map.Readers.Clear();
        }
    }

    private IEnumerable<Step> StepsOf(Layer layer)
    {
        Place from = places[layer.Input], to = places[layer.Output];
        Place? second = layer.Inputs.Length > 1 ? places[layer.Inputs[1]] : null;
        Place? third = layer.Inputs.Length > 2 ? places[layer.Inputs[2]] : null;
        Map x = layer.Input;
        return layer switch
        {
            ConvLayer { IsProduct: true } conv => [Product(conv, from, to)],
            ConvLayer { Input.Codes: not null } conv => [Codes(conv, from, to)],
            ConvLayer conv => [new ConvStep(Packed(conv), x, from, to, Residual(conv), conv.Activation, Native(conv.InputScale),
                Native(conv.InputShift))],
            AffineLayer affine => [Pass(affine, from, to)],
            SumLayer sum => [new PassStep(x, from, to, second, null, null, sum.Activation)],
            ScaleLayer => [new ScaleStep(x, from, second!.Value, to)],
            QuantiseLayer or DequantiseLayer => [new RoundingStep(layer, from, to)],
            PoolLayer { Input.Codes: not null } pool => [new MaxCodesStep(pool, from, to)],
            PoolLayer pool => [new PoolStep(pool, from, to)],
            MeanLayer { Input.Codes: { } codes } => [new MeanCodesStep(x, codes, layer.Output.Codes, from, to)],
            MeanLayer => [new MeanStep(x, from, to)],
            ArrangeLayer arrange => Arrange(arrange, to),
            GeluLayer gelu => [new GeluStep(gelu, from, to)],
            LayerNormLayer norm => [new LayerNormStep(x, from, to, Native(norm.Gamma)!, Native(norm.Beta)!, norm.Epsilon,
                norm.Gamma.Length, norm.Width)],
            GroupNormLayer norm => [new GroupNormStep(norm, from, to, Native(norm.Gamma)!, Native(norm.Beta)!)],
            SoftmaxLayer => [new SoftmaxStep(x, from, to)],
            AttentionLayer attention => [new AttentionStep(attention, from, second!.Value, third!.Value,
                attention.Inputs.Length > 3 ? places[attention.Inputs[3]] : null, to)],
            AssembleLayer assemble => [new AssembleStep(x, layer.Output, from, to, Native(assemble.Table)!)],
            EmbedLayer embed => [new EmbedStep(embed, from, to)],
            KeepLayer keep => [new KeepStep(keep, ++Stages, from, second!.Value, to)],
            TakeLayer take => [new TakeStep(take, from, to)],
            RowsToMapsLayer =>
                [new PixelsStep(x, from, x.Pixels - layer.Output.Pixels, layer.Output, to, 0, layer.Output.Pixels)],
            MapsToRowsLayer => ToRows(layer, from, second, to),
            ClassAttentionLayer shares => [new ClassAttentionStep(shares, from, second!.Value, to)],
            MatchLayer match => [new MatchStep(match, from, to)],
            MergeLayer merge => [new MergeStep(merge, from, second!.Value, third, to)],
            SampleLayer sample => [new SampleStep(sample, from, to)],
            RowMeanLayer mean => [new RowMeanStep(mean, from, to)],
            RowNormLayer => [new RowNormStep(x, from, to)],
            BinaryLayer binary => [new BinaryStep(binary, from, second!.Value, to)],
            UnaryLayer unary => [new UnaryStep(unary, from, to)],
            RowDotLayer => [new RowDotStep(x, from, second!.Value, third, to)],
            OpLayer op => [new OpStep(op, map => places[map])],
            _ => [],
        };
    }

    private static PixelsStep[] ToRows(Layer layer, Place maps, Place? first, Place to)
    {
        Map x = layer.Input, y = layer.Output;
        int prefix = y.Pixels - x.Pixels;
        var grid = new PixelsStep(x, maps, 0, y, to, prefix, x.Pixels);
        return prefix == 0 ? [grid] : [new PixelsStep(layer.Inputs[^1], first, 0, y, to, 0, prefix), grid];
    }

    private Place? Residual(ConvLayer conv) => conv.Residual is { } residual ? places[residual] : null;

    private static PassStep Pass(AffineLayer affine, Place from, Place to)
    {
        float[]? scale = affine.IsActivation ? null : affine.Scale ?? Ones(affine.Input.Channels);
        float[]? shift = scale is null ? null : affine.Shift ?? new float[scale.Length];
        return new PassStep(affine.Input, from, to, null, scale, shift, affine.Activation);
    }

    /// <summary>What is not where it should be already is moved there, then what has no source is filled in.</summary>
    private IEnumerable<Step> Arrange(ArrangeLayer arrange, Place to)
    {
        Map y = arrange.Output;
        if (Spread(arrange, to) is { } spread) return [spread];
        var steps = new List<Step>();
        for (int s = 0; s < arrange.Inputs.Length; s++)
        {
            Place from = places[arrange.Inputs[s]];
            int[] k = [.. Enumerable.Range(0, arrange.From.Length).Where(k => arrange.From[k].Source == s)];
            int[] c = Array.ConvertAll(k, k => arrange.From[k].Channel);
            bool there = from.Offset == to.Offset && from.Stride == to.Stride
                && Enumerable.Range(0, k.Length).All(i => from.FirstChannel + c[i] == to.FirstChannel + k[i]);
            if (!there) steps.Add(new MoveStep(y, from, to, new ChannelMoves(c, k)));
        }
        int[] empty = [.. Enumerable.Range(0, arrange.From.Length).Where(k => arrange.From[k].Source < 0)];
        float[] shift = arrange.Shift ?? new float[arrange.From.Length];
        if (empty.Length > 0) steps.Add(new FillStep(y, to, Native(shift)!, new ChannelMoves(empty, empty)));
        foreach (int k in empty) shift[k] = 0;
        if (Array.Exists(shift, v => v != 0))
            steps.Add(new PassStep(y, to, to, null, Ones(shift.Length), shift, Activation.None));
        return steps;
    }

    /// <summary>One input's channels with many gaps, where vectors serve: null elsewhere.</summary>
    private SpreadStep? Spread(ArrangeLayer arrange, Place to)
    {
        if (arrange.Inputs.Length != 1 || places[arrange.Input] is var from && from.Offset == to.Offset) return null;
        int[] channels = Array.ConvertAll(arrange.From, f => f.Channel);
        int runs = channels.Where((c, k) => k == 0 || (c < 0 ? channels[k - 1] >= 0 : c != channels[k - 1] + 1)).Count();
        return 2 * ChannelSpread.Vectors(channels, arrange.Input.Channels) < runs
            ? new SpreadStep(arrange.Output, from, to, new ChannelSpread(channels, arrange.Input.Channels, arrange.Shift)) : null;
    }
}
