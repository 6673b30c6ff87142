using System.Diagnostics;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors;

/// <summary>
/// One operation on tensors, whole in one file: what it computes, its gradient, what it costs, how channels flow through it,
/// and how it is made again on other operands. An op object is one call: its constructor takes the operands and checks their
/// shapes, <see cref="Run"/> computes. On operands without values (<see cref="Tensor.IsMeta"/>) it gives the result's shape.
/// </summary>
public abstract unsafe class Op
{
    private readonly Tensor?[] operands;
    private readonly Tensor[] inputs;
    private Tensor? output;
    private OpSettings? settings;

    /// <param name="operands">All tensor operands; a null stands for an optional one that was left out.</param>
    protected Op(params Tensor?[] operands)
    {
        this.operands = operands;
        inputs = Array.FindAll(operands, t => t is not null)!;
    }

    public abstract string Name { get; }

    /// <summary>The tensor operands in the order of the constructor; null where an optional one was left out.</summary>
    public IReadOnlyList<Tensor?> Operands => operands;

    /// <summary>The tensor operands, without the optional ones that were left out.</summary>
    public IReadOnlyList<Tensor> Inputs => inputs;

    /// <summary>The shape of the output, known from the operands. Where it depends on their values, the largest possible.</summary>
    public abstract Shape Result { get; }

    /// <summary>What the op is besides its name and its operands; do not change it.</summary>
    public OpSettings Settings
    {
        get
        {
            if (settings is null)
            {
                // Several threads may ask at once: nobody sees settings that are not whole.
                var made = new OpSettings();
                Save(made);
                Volatile.Write(ref settings, made);
            }
            return settings;
        }
    }

    public Tensor Output => output ?? throw new InvalidOperationException($"{Name} has not run yet");

    /// <summary>True while <see cref="Forward"/> should save what <see cref="Backward"/> will need.</summary>
    public bool Differentiated { get; private set; }

    /// <summary>The cost of the forward pass; known from the shapes.</summary>
    public abstract Cost Cost { get; }

    /// <summary>Runs the op, and records it where a <see cref="Recording"/> is open on this thread.</summary>
    public Tensor Run()
    {
        Interruption.Check();
        Recording? recording = Recording.Current;
        Differentiated = recording is { Gradients: true } && Array.Exists(inputs, t => t.RequiresGrad);
        long started = recording is { Timed: true } ? Stopwatch.GetTimestamp() : 0;
        if (Array.Exists(inputs, t => t.IsMeta))
        {
            RunMeta();
        }
        else
        {
            output = Forward();
            output.Rows ??= ResultRows();
        }
        if (Differentiated && !output!.IsMeta)
        {
            output.RequiresGrad = true;
            output.Producer = this;
        }
        recording?.Add(this, started);
        return output!;
    }

    /// <summary>Gives the op its result's shape and row set without computing anything, whatever its operands are.</summary>
    internal Tensor RunMeta()
    {
        output = Tensor.Meta(Result);
        output.Rows = ResultRows();
        return output;
    }

    /// <summary>Computes and returns the result.</summary>
    protected abstract Tensor Forward();

    /// <summary>Adds to the gradients of the inputs, each only where <see cref="Wants"/> says so. dy has the output's shape.</summary>
    protected internal abstract void Backward(Tensor dy);

    /// <summary>Says which channels of inputs and output belong together.</summary>
    public abstract void Flow(ChannelFlow flow);

    /// <summary>
    /// The same op on other operands, in the order of the constructor; not run yet. What takes its settings from
    /// <paramref name="run"/>, such as dropout, is made for that run.
    /// </summary>
    /// <exception cref="ArgumentException">The operands do not fit.</exception>
    public virtual Op On(Tensor?[] operands, RunContext run = default) => OpTable.Create(Name, operands, Settings);

    /// <summary>Writes what the op is besides its operands, for <see cref="OpTable.Create"/> to read.</summary>
    protected virtual void Save(OpSettings settings)
    {
    }

    /// <summary>The row set of the output. Here that of the first operand that has one, where it still has as many rows.</summary>
    private protected virtual RowSet? ResultRows()
    {
        foreach (Tensor input in inputs)
            if (input.Rows is { } rows) return Output.Rank > 0 && Output.Shape[0] == rows.Rows ? rows : null;
        return null;
    }

    /// <summary>Whether a gradient is wanted for this operand.</summary>
    protected static bool Wants(Tensor? input) => input is { RequiresGrad: true };

    /// <summary>
    /// The tensor to write the gradient of <paramref name="input"/> into. <paramref name="accumulate"/> says whether it already
    /// holds a gradient to add to; if not, its content is not set and must be overwritten whole.
    /// </summary>
    protected static Tensor GradOf(Tensor input, out bool accumulate)
    {
        accumulate = input.Grad is not null;
        return input.Grad ??= input.Producer is null ? Tensor.Unscoped(input.Shape) : new Tensor(input.Shape);
    }

    /// <summary>
    /// Lets <paramref name="write"/> fill a tensor of the input's shape with its gradient, and adds it where there is one
    /// already. For kernels that can only overwrite.
    /// </summary>
    protected static void AddGrad(Tensor input, Action<Tensor> write)
    {
        Tensor grad = GradOf(input, out bool accumulate);
        if (!accumulate)
        {
            write(grad);
            return;
        }
        var part = new Tensor(input.Shape);
        write(part);
        Map.Binary(default(AddMap), grad.Data, part.Data, grad.Data, (nint)part.Length);
        part.Dispose();
    }

    /// <summary>
    /// Where a kernel that writes the gradients of several inputs at once may put that of <paramref name="input"/>: into the
    /// gradient itself where there is none yet, else (or where none is wanted) into a tensor for <see cref="AddPart"/>.
    /// </summary>
    protected static Tensor Part(Tensor input) =>
        Wants(input) && input.Grad is null ? GradOf(input, out _) : new Tensor(input.Shape);

    /// <summary>Adds what a kernel wrote into <see cref="Part"/>, where that is not the gradient already; part is used up.</summary>
    protected static void AddPart(Tensor input, Tensor part)
    {
        if (part == input.Grad) return;
        if (Wants(input)) PassGrad(input, part);
        part.Dispose();
    }

    /// <summary>
    /// The gradient of <paramref name="input"/> is <paramref name="dy"/> itself, under the input's shape. Where the input has
    /// none yet, dy's memory becomes its gradient, to which later ops add: to be called once in a backward pass, at its end.
    /// </summary>
    protected static void PassGrad(Tensor input, Tensor dy)
    {
        if (input.Grad is null && input.Producer is not null)
        {
            input.Grad = dy.View(input.Shape);
            return;
        }
        Tensor grad = GradOf(input, out bool accumulate);
        if (accumulate) Map.Binary(default(AddMap), grad.Data, dy.Data, grad.Data, (nint)dy.Length);
        else grad.CopyFrom(dy);
    }
}
