using Espalier.Training;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Quantization;

/// <summary>How the range of a value is found from those that were seen.</summary>
public enum ObserverKind
{
    /// <summary>From the least to the largest.</summary>
    MinMax,

    /// <summary>The least and largest of each batch, averaged: later batches count more.</summary>
    MovingAverage,

    /// <summary>All but a share of the values on each side: 0.1, 0.01 or 0.001 %, whichever gives the least squared
    /// error.</summary>
    Percentile,

    /// <summary>The least squared error, of 100 ranges from 0.3 to 1 times the whole one.</summary>
    Mse,

    /// <summary>The least Kullback-Leibler divergence of the histogram, of the same ranges.</summary>
    Entropy,

    /// <summary>Narrowed from the whole one, on whichever side has fewer values, until the squared error of the histogram grows:
    /// what quantisation-aware training of PyTorch does.</summary>
    Histogram,
}

/// <summary>Looks at the values of an activation, batch by batch, and says over which range its codes are to be spread.</summary>
public abstract class Observer
{
    /// <param name="momentum">Of a moving average: what a new batch counts.</param>
    public static Observer Create(ObserverKind kind, float momentum = 0.01f) => kind switch
    {
        ObserverKind.MinMax => new RangeObserver(null),
        ObserverKind.MovingAverage => new RangeObserver(momentum),
        _ => new HistogramObserver(kind),
    };

    /// <summary>Whether anything was seen.</summary>
    public bool IsEmpty { get; private set; } = true;

    /// <summary>Takes the values of a batch.</summary>
    /// <exception cref="EspalierException">One of them is no number.</exception>
    public void Add(ReadOnlySpan<float> batch)
    {
        if (batch.IsEmpty) return;
        float min = TensorPrimitives.Min(batch), max = TensorPrimitives.Max(batch);
        if (!float.IsFinite(min) || !float.IsFinite(max))
            throw new EspalierException(
                "the network gives numbers that are not finite on the calibration images; it cannot be quantised");
        Add(batch, min, max, IsEmpty);
        IsEmpty = false;
    }

    /// <summary>The range for codes of that format.</summary>
    /// <exception cref="EspalierException">Nothing was seen.</exception>
    public (float Min, float Max) Range(CodeFormat format) => IsEmpty
        ? throw new EspalierException("a value has no range: there were no calibration images") : Found(format);

    private protected abstract void Add(ReadOnlySpan<float> batch, float min, float max, bool first);

    private protected abstract (float Min, float Max) Found(CodeFormat format);

    /// <summary>Adds what was seen to a checkpoint.</summary>
    internal void Save(StateWriter state)
    {
        state.Add("seen", IsEmpty ? 0L : 1L);
        SaveSeen(state);
    }

    /// <summary>Takes back what <see cref="Save"/> added.</summary>
    internal void Load(StateReader state)
    {
        IsEmpty = state.ReadLong("seen") == 0;
        LoadSeen(state);
    }

    private protected abstract void SaveSeen(StateWriter state);

    private protected abstract void LoadSeen(StateReader state);

    /// <param name="momentum">Null for the least and largest of all batches.</param>
    private sealed class RangeObserver(float? momentum) : Observer
    {
        private float low, high;

        private protected override void Add(ReadOnlySpan<float> batch, float min, float max, bool first)
        {
            if (first) (low, high) = (min, max);
            else if (momentum is { } m) (low, high) = (low + m * (min - low), high + m * (max - high));
            else (low, high) = (Math.Min(low, min), Math.Max(high, max));
        }

        private protected override (float Min, float Max) Found(CodeFormat format) => (low, high);

        private protected override void SaveSeen(StateWriter state) => state.Add("range", low, (double)high);

        private protected override void LoadSeen(StateReader state)
        {
            double[] range = state.ReadDoubles("range");
            (low, high) = ((float)range[0], (float)range[1]);
        }
    }
}
