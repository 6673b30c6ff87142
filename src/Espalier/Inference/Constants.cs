using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// Copies the values of a weight, row-major, to where they are wanted: how a session takes weights from a file one by one, so
/// that none but the one that is being packed is there twice.
/// </summary>
/// <exception cref="EspalierException">It cannot be read, or holds something else than finite numbers.</exception>
public delegate void WeightReader(GraphValue weight, Span<float> destination);

/// <summary>
/// What of a graph does not depend on its input: weights and what ops make of them alone. Nothing is computed before it is asked
/// for, and nothing is kept.
/// </summary>
/// <param name="read">Reads weights that are shapes only.</param>
internal sealed class Constants(WeightReader? read)
{
    private readonly HashSet<GraphValue> made = [];

    public bool Has(GraphValue value) => value.IsWeight || made.Contains(value);

    /// <summary>What this node makes is constant, as all that it reads is.</summary>
    public void Add(GraphNode node) => made.Add(node.Output);

    public Weight this[GraphValue value] => new(this, value, value.Shape);

    /// <summary>The values, good until the innermost scope ends.</summary>
    public Tensor Load(GraphValue value)
    {
        if (value.IsWeight)
        {
            if (!value.Tensor.IsMeta) return value.Tensor;
            var weight = new Tensor(value.Shape);
            Read(value, weight.Span);
            return weight;
        }
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        GraphNode node = value.Producer!;
        return node.Op.On([.. node.Operands.Select(o => o is null ? null : Load(o))]).Run().Keep();
    }

    /// <summary>The same into memory that is there.</summary>
    public void Read(GraphValue value, Span<float> target)
    {
        if (value is { IsWeight: true, Tensor.IsMeta: true })
        {
            if (read is null) throw new ArgumentException($"the weight {value} has no values, and nothing reads them");
            read(value, target);
            return;
        }
        using var scope = new Scope();
        Load(value).Span.CopyTo(target);
    }
}

/// <summary>A constant as a layer's weights, under the shape that the layer sees.</summary>
/// <param name="transposed">Whether the layer sees [out, in] where the constant is [in, out].</param>
internal sealed class Weight(Constants constants, GraphValue value, Shape shape, bool transposed = false)
{
    public Shape Shape { get; } = shape;

    public Weight As(Shape shape) => new(constants, value, shape, transposed);

    public Weight Transposed() => new(constants, value, new Shape(Shape[1], Shape[0]), !transposed);

    /// <summary>Row-major, good until the innermost scope ends.</summary>
    public Tensor Load()
    {
        Tensor values = constants.Load(value);
        if (!transposed) return values;
        using Recording.PauseBlock pause = Recording.Pause();
        return F.Transpose(values);
    }

    public void Read(Span<float> target)
    {
        if (transposed)
        {
            using var scope = new Scope();
            Load().Span.CopyTo(target);
        }
        else constants.Read(value, target);
    }

    public float[] ToArray()
    {
        var values = new float[Shape.Length];
        Read(values);
        return values;
    }
}
