using Espalier.Tensors.Memory;

namespace Espalier.Tensors;

/// <summary>
/// A dense, row-major, contiguous array of float32 in aligned native memory. A tensor belongs to the innermost open
/// <see cref="Scope"/> of the thread that made it, or, where none is open or <see cref="Keep"/> took it out, to its user,
/// who disposes it.
/// </summary>
public sealed unsafe partial class Tensor : IDisposable
{
    private Storage? storage;
    private long first;
    private bool disposed;

    private Tensor(Shape shape, Storage? storage, bool scoped)
    {
        Shape = shape;
        this.storage = storage;
        if (scoped && Scope.Current is { } scope)
        {
            Owner = scope;
            scope.Add(this);
        }
    }

    /// <summary>A tensor whose content is not set.</summary>
    public Tensor(Shape shape) : this(shape, new Storage(shape.Length), scoped: true) { }

    public Shape Shape { get; private set; }

    public int Rank => Shape.Rank;

    /// <summary>Number of elements.</summary>
    public long Length => Shape.Length;

    /// <summary>For messages; a traced graph calls the value so.</summary>
    public string? Name { get; set; }

    /// <summary>Whether backward passes compute <see cref="Grad"/> here. Set on parameters; results of recorded ops inherit it.</summary>
    public bool RequiresGrad { get; set; }

    /// <summary>d(loss)/d(this), same shape; parameters keep adding to it until <see cref="ClearGrad"/>.</summary>
    public Tensor? Grad { get; internal set; }

    /// <summary>
    /// Where axis 0 is token rows: which rows are of which image. Null where axis 0 is images, and for weights. Ops hand it on.
    /// </summary>
    public RowSet? Rows
    {
        get;
        set
        {
            if (value is not null && (Rank == 0 || Shape[0] != value.Rows))
                throw new ArgumentException($"{value.Rows} rows for a tensor {Shape}");
            field = value;
        }
    }

    /// <summary>
    /// Whether it is a shape only: ops on such tensors compute nothing but shapes, so that costs and structure of a network are
    /// known without running it.
    /// </summary>
    public bool IsMeta => storage is null;

    /// <summary>The op of the running recording that made this tensor; null for inputs and parameters.</summary>
    internal Op? Producer { get; set; }

    internal Scope? Owner { get; private set; }

    /// <summary>First element; valid until the tensor is disposed.</summary>
    public float* Data
    {
        get
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            return storage is null ? throw new InvalidOperationException($"{this} has a shape, but no values") : storage.Pointer + first;
        }
    }

    /// <summary>All elements in row-major order. Only for tensors below 2^31 elements.</summary>
    public Span<float> Span => new(Data, checked((int)Length));

    public static Tensor Zeros(Shape shape)
    {
        var t = new Tensor(shape);
        t.Fill(0);
        return t;
    }

    public static Tensor Full(Shape shape, float value)
    {
        var t = new Tensor(shape);
        t.Fill(value);
        return t;
    }

    public static Tensor From(Shape shape, ReadOnlySpan<float> values)
    {
        if (values.Length != shape.Length)
            throw new ArgumentException($"{values.Length} values do not fill a tensor of shape {shape}");
        var t = new Tensor(shape);
        values.CopyTo(t.Span);
        return t;
    }

    public static Tensor Scalar(float value) => Full(new Shape(), value);

    /// <summary>Zeros outside any scope and with a gradient: a weight that a module owns.</summary>
    public static Tensor Parameter(Shape shape)
    {
        Tensor t = Unscoped(shape);
        t.Fill(0);
        t.RequiresGrad = true;
        return t;
    }

    /// <summary>A shape without values, see <see cref="IsMeta"/>; it takes no memory and needs no scope.</summary>
    public static Tensor Meta(Shape shape, RowSet? rows = null) => new(shape, null, scoped: false) { Rows = rows };

    /// <summary>A tensor that no scope will dispose; its content is not set.</summary>
    public static Tensor Unscoped(Shape shape) => new(shape, new Storage(shape.Length), scoped: false);

    /// <summary>The same elements under another shape, sharing memory. Not recorded: see <c>Reshape</c> for the op.</summary>
    public Tensor View(Shape shape)
    {
        if (shape.Length != Length) throw new ArgumentException($"cannot view {Shape} as {shape}: {Length} elements, not {shape.Length}");
        ObjectDisposedException.ThrowIf(disposed, this);
        storage?.AddOwner();
        return new Tensor(shape, storage, scoped: storage is not null) { first = first };
    }

    /// <summary>Elements from one on under another shape, sharing memory, which no scope will dispose. Not recorded.</summary>
    /// <param name="start">A multiple of <see cref="PartAlignment"/>, so that the part is as aligned as the whole.</param>
    internal Tensor Part(long start, Shape shape)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (start < 0 || start % PartAlignment != 0 || shape.Length > Length - start || storage is null)
            throw new ArgumentException($"{this} has no {shape} from {start} on");
        storage.AddOwner();
        return new Tensor(shape, storage, scoped: false) { first = first + start };
    }

    /// <summary>Floats of a cache line.</summary>
    internal const int PartAlignment = 16;

    /// <summary>Sets all elements; a shape without values has none.</summary>
    public void Fill(float value)
    {
        if (IsMeta && !disposed) return;
        float* p = Data;
        for (long i = 0; i < Length; i += int.MaxValue) new Span<float>(p + i, (int)Math.Min(int.MaxValue, Length - i)).Fill(value);
    }

    public Tensor Clone()
    {
        var t = new Tensor(Shape);
        t.CopyFrom(this);
        return t;
    }

    public void CopyFrom(Tensor source)
    {
        if (source.Length != Length) throw new ArgumentException($"cannot copy {source.Shape} into {Shape}");
        Buffer.MemoryCopy(source.Data, Data, Length * sizeof(float), Length * sizeof(float));
    }

    /// <summary>The one element of a tensor of length 1.</summary>
    public float Item() => Length == 1 ? Data[0] : throw new InvalidOperationException($"a tensor of shape {Shape} is not a single value");

    public float[] ToArray() => Span.ToArray();

    /// <summary>Moves the tensor to the scope around the one that owns it, so that it outlives the inner one.</summary>
    public Tensor Keep()
    {
        Owner = Owner?.Outer;
        Owner?.Add(this);
        return this;
    }

    /// <summary>
    /// Swaps shape and elements with <paramref name="other"/>; both gradients are freed. Everyone who holds this tensor (a layer,
    /// an optimiser) sees the other's content from now on, which is how a weight becomes smaller in place.
    /// </summary>
    internal void Exchange(Tensor other)
    {
        ObjectDisposedException.ThrowIf(disposed || other.disposed, this);
        ClearGrad();
        other.ClearGrad();
        (Shape, other.Shape) = (other.Shape, Shape);
        (storage, other.storage) = (other.storage, storage);
        (first, other.first) = (other.first, first);
    }

    /// <summary>The gradient; of zeros where there was none.</summary>
    internal Tensor MadeGrad()
    {
        if (Grad is not null) return Grad;
        Grad = Unscoped(Shape);
        Grad.Fill(0);
        return Grad;
    }

    /// <summary>Frees the gradient, so that the next backward pass starts from nothing.</summary>
    public void ClearGrad()
    {
        Grad?.Dispose();
        Grad = null;
    }

    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        ClearGrad();
        Producer = null;
        storage?.Release();
    }

    public override string ToString() => Name is null ? $"Tensor{Shape}" : $"Tensor{Shape} {Name}";
}
