using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// A part of a network: it owns parameters (trained) and buffers (kept, not trained) and has children. Names are given
/// explicitly and joined with dots; they are the keys of checkpoints, so loading is a lookup.
/// </summary>
public abstract class Module : IDisposable
{
    private readonly List<(string Name, Tensor Value)> parameters = [];
    private readonly List<(string Name, Tensor Value)> buffers = [];
    private readonly List<(string Name, Module Value)> children = [];
    private bool training = true;

    /// <summary>True while dropout and batch statistics are active; set on a module and all its children together.</summary>
    public bool Training
    {
        get => training;
        set
        {
            training = value;
            foreach (var (_, child) in children) child.Training = value;
        }
    }

    public IReadOnlyList<(string Name, Module Value)> Children => children;

    /// <summary>All modules of one kind below this one, in order.</summary>
    internal IEnumerable<T> Descendants<T>() where T : Module => NamedDescendants<T>().Select(d => d.Value);

    /// <summary>As <see cref="Descendants"/>, under the names that their tensors' names begin with.</summary>
    internal IEnumerable<(string Name, T Value)> NamedDescendants<T>(string prefix = "") where T : Module
    {
        foreach (var (name, child) in children)
        {
            if (child is T wanted) yield return (prefix + name, wanted);
            foreach (var inner in child.NamedDescendants<T>(Inside(prefix, name))) yield return inner;
        }
    }

    /// <summary>All trained tensors of this module and its children, under their full names.</summary>
    public IEnumerable<(string Name, Tensor Value)> NamedParameters() => Collect("", m => m.parameters);

    public IEnumerable<Tensor> Parameters() => NamedParameters().Select(p => p.Value);

    /// <summary>All untrained state, such as running statistics, under full names.</summary>
    public IEnumerable<(string Name, Tensor Value)> NamedBuffers() => Collect("", m => m.buffers);

    /// <summary>Parameters and buffers: what a checkpoint holds.</summary>
    public IEnumerable<(string Name, Tensor Value)> StateDict() => NamedParameters().Concat(NamedBuffers());

    public long ParameterCount => Parameters().Sum(p => p.Length);

    public void ClearGrads()
    {
        foreach (Tensor p in Parameters()) p.ClearGrad();
    }

    /// <summary>Registers a zero-filled parameter; the caller initialises it.</summary>
    protected Tensor Parameter(string name, Shape shape)
    {
        Tensor t = Init.IsShapesOnly ? Tensor.Meta(shape) : Tensor.Parameter(shape);
        (t.Name, t.RequiresGrad) = (name, true);
        parameters.Add((name, t));
        return t;
    }

    protected Tensor Buffer(string name, Shape shape, float value = 0)
    {
        Tensor t = Tensor.Unscoped(shape);
        t.Fill(value);
        t.Name = name;
        buffers.Add((name, t));
        return t;
    }

    /// <summary>Registers a child; a name may contain dots, and an empty one adds the child's names to this module's.</summary>
    protected T Child<T>(string name, T child) where T : Module
    {
        children.Add((name, child));
        child.Training = training;
        return child;
    }

    /// <summary>Frees all children: their parameters and buffers are no longer part of the model.</summary>
    protected void FreeChildren()
    {
        foreach (var (_, child) in children) child.Dispose();
        children.Clear();
    }

    private IEnumerable<(string, Tensor)> Collect(string prefix, Func<Module, List<(string Name, Tensor Value)>> own)
    {
        foreach (var (name, value) in own(this)) yield return (prefix + name, value);
        foreach (var (name, child) in children)
        {
            foreach (var entry in child.Collect(Inside(prefix, name), own)) yield return entry;
        }
    }

    private static string Inside(string prefix, string name) => name.Length == 0 ? prefix : prefix + name + ".";

    public virtual void Dispose()
    {
        foreach (var (_, p) in parameters) p.Dispose();
        foreach (var (_, b) in buffers) b.Dispose();
        foreach (var (_, child) in children) child.Dispose();
        GC.SuppressFinalize(this);
    }
}
