using System.Runtime.InteropServices;
using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// One run of a network on a few images: where its maps are, and which rows of its tokens each image has at each place of the
/// network. Two lanes may run at once, each in a thread; what runs in a lane outside of any job is shared by all threads.
/// </summary>
internal sealed unsafe class Lane : IDisposable
{
    private readonly RowAxis[] axes;
    private readonly int*[] starts, tokens;
    private int* memory;

    /// <param name="capacity">Most images at once.</param>
    public Lane(RowAxis[] axes, int capacity)
    {
        (this.axes, Capacity) = (axes, capacity);
        starts = new int*[axes.Length];
        tokens = new int*[axes.Length];
        long length = axes.Sum(a => 1 + capacity * (1L + a.Most));
        memory = (int*)NativeMemory.Alloc(checked((nuint)length * sizeof(int)));
        int* next = memory;
        for (int i = 0; i < axes.Length; i++)
        {
            starts[i] = next;
            tokens[i] = next + capacity + 1;
            next = tokens[i] + (nint)capacity * axes[i].Most;
        }
    }

    ~Lane() => NativeMemory.Free(memory);

    public int Capacity { get; }

    /// <summary>Room for the maps of the images, see <see cref="Arena"/>.</summary>
    public float* Memory { get; private set; }

    /// <summary>Images of this run.</summary>
    public int Images { get; private set; }

    /// <summary>What the rows are kept by, in place of the network's own rules where one may take theirs; null for those.</summary>
    public KeepRule? Keep { get; private set; }

    /// <summary>Where it is noted which rows are left; null where nobody asks.</summary>
    public TokenTrace? Trace { get; private set; }

    /// <summary>Which of the trace's images is the first of these.</summary>
    public int FirstOfTrace { get; private set; }

    public void Begin(float* memory, int images, KeepRule? keep, TokenTrace? trace, int firstOfTrace)
    {
        bool same = images == Images;
        Memory = memory;
        (Images, Keep, Trace, FirstOfTrace) = (images, keep, trace, firstOfTrace);
        // Those of axes that lost rows are written by the steps that drop them.
        for (int i = 0; i < axes.Length && !same; i++)
        {
            int most = axes[i].Most;
            for (int b = 0; b <= images; b++) starts[i][b] = b * most;
            for (int row = 0; row < images * most; row++) tokens[i][row] = row % most;
        }
    }

    /// <summary>[images + 1] the first row of each image, then the number of rows.</summary>
    public int* Starts(RowAxis axis) => starts[axis.Index];

    public ReadOnlySpan<int> StartsOf(RowAxis axis) => new(Starts(axis), Images + 1);

    /// <summary>[rows] which token of its image each row is.</summary>
    public int* Tokens(RowAxis axis) => tokens[axis.Index];

    /// <summary>Pixels of all images.</summary>
    public int Rows(Map map) => map.Axis is { } axis ? Starts(axis)[Images] : Images * map.Pixels;

    /// <summary>Notes which tokens are left.</summary>
    public void Note(RowAxis axis, int stage)
    {
        if (Trace is null || stage >= Trace.Stages) return;
        for (int b = 0; b < Images; b++)
        {
            int first = Starts(axis)[b];
            Trace.Note(FirstOfTrace + b, stage, new ReadOnlySpan<int>(Tokens(axis) + first, Starts(axis)[b + 1] - first));
        }
    }

    public void Dispose()
    {
        NativeMemory.Free(memory);
        memory = null;
        GC.SuppressFinalize(this);
    }
}
