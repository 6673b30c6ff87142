using System.Diagnostics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors;

/// <summary>
/// The list of ops that ran on this thread while it was open: <c>using var recording = new Recording();</c>. Gradients, the
/// cost table, channel dependencies and exports are all read from it. With no recording open, ops keep nothing.
/// </summary>
public sealed class Recording : IDisposable
{
    [ThreadStatic]
    private static Recording? current;

    private readonly Recording? outer;
    private readonly List<Op> ops = [];
    private readonly List<TimeSpan>? times;
    private bool open = true;

    /// <param name="gradients">False to record structure and cost only, without keeping what a backward pass needs.</param>
    /// <param name="timed">Whether to measure the forward pass of every op.</param>
    /// <param name="traces">Whether it is for a graph, which has every dropout's place, active or not.</param>
    public Recording(bool gradients = true, bool timed = false, bool traces = false)
    {
        (Gradients, Traces) = (gradients, traces);
        times = timed ? [] : null;
        outer = current;
        current = this;
    }

    /// <summary>The innermost open recording of this thread.</summary>
    public static Recording? Current => current is { paused: false } ? current : null;

    private bool paused;

    public bool Gradients { get; }

    /// <summary>Whether it is made for a graph: see <see cref="Graph"/>.</summary>
    public bool Traces { get; }

    public IReadOnlyList<Op> Ops => ops;

    /// <summary>The cost of everything recorded.</summary>
    public Cost Cost => ops.Aggregate(default(Cost), (sum, op) => sum + op.Cost);

    /// <summary>How long each op's forward pass took; empty where the recording is not timed.</summary>
    public IReadOnlyList<TimeSpan> Times => times ?? [];

    internal bool Timed => times is not null;

    /// <param name="started">Stopwatch's time before the op's forward pass, where the recording is timed.</param>
    internal void Add(Op op, long started)
    {
        times?.Add(Stopwatch.GetElapsedTime(started));
        ops.Add(op);
    }

    /// <summary>Ops inside the returned block are not recorded: <c>using (Recording.Pause()) ...</c></summary>
    public static PauseBlock Pause() => new(current);

    /// <summary>What all recorded ops say about channels.</summary>
    public ChannelFlow Flow()
    {
        var flow = new ChannelFlow();
        foreach (Op op in ops) op.Flow(flow);
        return flow;
    }

    /// <summary>
    /// Adds d(<paramref name="loss"/>)·<paramref name="scale"/> to the gradient of every parameter that it depends on. The
    /// gradient of an intermediate result is freed as soon as it has been passed on.
    /// </summary>
    /// <param name="loss">A result of this recording with one element.</param>
    /// <param name="look">
    /// Called with each intermediate result once its gradient is whole and before it is passed on and freed.
    /// </param>
    /// <exception cref="ObjectDisposedException">The recording has ended.</exception>
    /// <exception cref="InvalidOperationException">No gradient can come of it: it is a result of another recording, or nothing
    /// that it depends on wants one.</exception>
    public void Backward(Tensor loss, float scale = 1, Action<Tensor>? look = null)
    {
        if (loss.Length != 1) throw new ArgumentException($"backward starts from a single value, not from {loss.Shape}");
        Backward(loss, Tensor.Full(loss.Shape, scale), look);
    }

    /// <summary>Starts from <paramref name="gradient"/>, d(loss)/d(<paramref name="result"/>), which is consumed.</summary>
    public void Backward(Tensor result, Tensor gradient, Action<Tensor>? look = null)
    {
        ObjectDisposedException.ThrowIf(!open, this);
        if (!Gradients) throw new InvalidOperationException("this recording was opened without gradients");
        if (result.Producer is null) throw new InvalidOperationException("nothing that this result depends on wants a gradient");
        if (ops.LastIndexOf(result.Producer) < 0) throw new InvalidOperationException("this is a result of another recording");
        if (gradient.Shape != result.Shape) throw new ArgumentException($"gradient {gradient.Shape} for a result {result.Shape}");
        result.ClearGrad();
        result.Grad = gradient;
        var whole = GradientsWhole.Of(ops);
        using (Pause())
        {
            for (int i = ops.Count - 1; i >= 0; i--)
            {
                Tensor y = ops[i].Output;
                if (ops[i].Differentiated && y.Grad is { } dy)
                {
                    Interruption.Check();
                    look?.Invoke(y);
                    ops[i].Backward(dy);
                    y.ClearGrad();
                }
                foreach (Tensor parameter in whole?.Last[i] ?? []) whole!.Value.Tell(parameter);
            }
        }
    }

    public void Dispose()
    {
        if (!open) return;
        if (current != this) throw new InvalidOperationException("recordings end in the order opposite to their beginning");
        open = false;
        current = outer;
        ops.Clear();
        times?.Clear();
    }

    /// <summary>Resumes the recording when disposed.</summary>
    public readonly struct PauseBlock : IDisposable
    {
        private readonly Recording? recording;
        private readonly bool before;

        internal PauseBlock(Recording? recording)
        {
            this.recording = recording;
            before = recording?.paused ?? false;
            if (recording is not null) recording.paused = true;
        }

        public void Dispose()
        {
            if (recording is not null) recording.paused = before;
        }
    }
}
