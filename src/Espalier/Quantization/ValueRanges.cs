using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Quantization;

/// <summary>The ranges of a network's values on some images, all of the float network: one pass.</summary>
internal sealed class ValueRanges
{
    private readonly OrderedDictionary<GraphValue, Observer> observers = [];
    private readonly Dictionary<GraphValue, (float Scale, int Zero)> known = [];
    private readonly Dictionary<GraphValue, (float[] Min, float[] Max)> channels = [];

    private readonly Dictionary<GraphValue, QuantisedValue> targets = [];
    private readonly Func<Observer> create;

    private ValueRanges(QuantisedPlaces places, Func<Observer> create)
    {
        this.create = create;
        foreach (GraphValue source in places.Values.Values.Distinct()) observers.Add(source, create());
    }

    /// <summary>The values that are looked at.</summary>
    public IReadOnlyList<GraphValue> Sources => [.. observers.Keys];

    /// <exception cref="EspalierException">There are no images.</exception>
    public static ValueRanges Of(Graph graph, QuantisedPlaces places, IEnumerable<Tensor> images, Func<Observer> create)
    {
        var ranges = new ValueRanges(places, create);
        bool any = false;
        foreach (Tensor batch in images)
        {
            any = true;
            using var scope = new Scope();
            ranges.Look(graph.Inputs[0], batch);
            graph.Run([batch], default, ranges.Look);
        }
        if (!any) throw new EspalierException("there are no calibration images to find the ranges of values on; give some");
        return ranges;
    }

    /// <summary>The least and largest of each channel of a layer norm's result.</summary>
    public (float[] Min, float[] Max)? ChannelsOf(GraphValue norm) => channels.TryGetValue(norm, out var found) ? found : null;

    /// <summary>Scale and zero point of a value whose channels were brought to one range; what was seen of it before is
    /// forgotten.
    /// </summary>
    public void Fix(GraphValue value, float scale, int zero)
    {
        known[value] = (scale, zero);
        observers[value] = create();
    }

    /// <summary>Looks at a value in training.</summary>
    public void Add(GraphValue source, Tensor x) => observers[source].Add(x.Span);

    /// <summary>Gives all rounded values the ranges of what was seen until now.</summary>
    public void Update()
    {
        foreach (var (source, rounded) in targets)
        {
            if (observers[source].IsEmpty) continue;
            var (min, max) = observers[source].Range(rounded.Format);
            rounded.SetRange(min, max);
        }
    }

    public void Save(StateWriter state)
    {
        for (int i = 0; i < observers.Count; i++) observers.GetAt(i).Value.Save(state.Section($"{i}"));
    }

    public void Load(StateReader state)
    {
        for (int i = 0; i < observers.Count; i++) observers.GetAt(i).Value.Load(state.Section($"{i}"));
    }

    /// <summary>Gives a rounded value its range.</summary>
    public void Set(GraphValue source, QuantisedValue rounded)
    {
        targets[source] = rounded;
        if (known.TryGetValue(source, out var fixedTo))
        {
            rounded.Scale.Fill(fixedTo.Scale);
            rounded.Zero!.Fill(fixedTo.Zero);
            return;
        }
        var (min, max) = observers[source].Range(rounded.Format);
        rounded.SetRange(min, max);
    }

    private void Look(GraphValue value, Tensor x)
    {
        if (!observers.TryGetValue(value, out Observer? observer)) return;
        observer.Add(x.Span);
        if (value.Producer?.Op is LayerNormOp) LookAtChannels(value, x);
    }

    private void LookAtChannels(GraphValue value, Tensor x)
    {
        int width = x.Shape[-1];
        if (!channels.TryGetValue(value, out var range))
        {
            channels[value] = range = (new float[width], new float[width]);
            range.Min.AsSpan().Fill(float.PositiveInfinity);
            range.Max.AsSpan().Fill(float.NegativeInfinity);
        }
        for (int row = 0; row < x.Length / width; row++)
        {
            ReadOnlySpan<float> values = x.Span.Slice(row * width, width);
            System.Numerics.Tensors.TensorPrimitives.Min(values, range.Min, range.Min);
            System.Numerics.Tensors.TensorPrimitives.Max(values, range.Max, range.Max);
        }
    }
}
