using System.Collections.Concurrent;
using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>Pictures ready for a model. Its arrays belong to the loader: give them back with <see cref="Recycle"/>.</summary>
public sealed class Batch
{
    private readonly ConcurrentBag<Batch>? pool;
    private int inUse = 1;

    internal Batch(int count, int pixelsPerImage, ConcurrentBag<Batch>? pool)
    {
        Pixels = new float[checked(count * pixelsPerImage)];
        Labels = new int[count];
        Indices = new int[count];
        this.pool = pool;
    }

    /// <summary>Pictures in this batch, N.</summary>
    public int Count => Labels.Length;

    /// <summary>[N, C, S, S], normalised.</summary>
    public float[] Pixels { get; }

    /// <summary>[N].</summary>
    public int[] Labels { get; }

    /// <summary>[N], the pictures' numbers in the data set.</summary>
    public int[] Indices { get; }

    /// <summary>A model's input, [N, C, S, S].</summary>
    public Tensor ToTensor(int channels, int imageSize) => Tensor.From(new Shape(Count, channels, imageSize, imageSize), Pixels);

    /// <summary>Lets the loader fill the arrays again; do not touch them afterwards. A second call does nothing.</summary>
    public void Recycle()
    {
        if (Interlocked.Exchange(ref inUse, 0) == 1) pool?.Add(this);
    }

    internal void TakeFromPool() => inUse = 1;

    /// <summary>A batch of the first pictures of this one, which goes back to the pool.</summary>
    internal Batch First(int count, int pixelsPerImage)
    {
        var batch = new Batch(count, pixelsPerImage, null);
        Pixels.AsSpan(0, batch.Pixels.Length).CopyTo(batch.Pixels);
        Labels.AsSpan(0, count).CopyTo(batch.Labels);
        Indices.AsSpan(0, count).CopyTo(batch.Indices);
        Recycle();
        return batch;
    }
}
