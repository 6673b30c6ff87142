using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Moves non-overlapping p x p patches between images [B, C, H, W] and rows [B·(H/p)·(W/p), C·p·p]: row-major over the grid,
/// columns in the order of a flattened convolution weight [C, p, p].
/// </summary>
internal readonly unsafe struct Patches(int batch, int channels, int height, int width, int patch)
{
    private readonly int planes = batch * channels, channels = channels, height = height, width = width, patch = patch;

    private int PerThread => Grain.For((long)height * width);

    /// <summary>Images -> rows; every element of rows is written.</summary>
    public void ToRows(float* images, float* rows) => Workers.For(planes, PerThread, new RowsJob(this, images, rows));

    /// <summary>The way back: rows -> images, written or, with <paramref name="accumulate"/>, added.</summary>
    public void ToImages(float* rows, float* images, bool accumulate) =>
        Workers.For(planes, PerThread, new ImagesJob(this, rows, images, accumulate));

    /// <summary>Where the pixels of line y of a plane begin that belong to the first patch of their grid row.</summary>
    private float* FirstPatch(float* rows, int plane, int y)
    {
        int across = width / patch, row = channels * patch * patch;
        long gridRow = (long)(plane / channels) * (height / patch) + y / patch;
        return rows + gridRow * across * row + (plane % channels * patch + y % patch) * patch;
    }

    private readonly struct RowsJob(Patches p, float* images, float* rows) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int patch = p.patch, row = p.channels * patch * patch;
            for (int plane = start; plane < end; plane++)
            {
                float* from = images + (long)plane * p.height * p.width;
                for (int y = 0; y < p.height; y++)
                {
                    float* to = p.FirstPatch(rows, plane, y);
                    for (int x = 0; x < p.width; x += patch, from += patch, to += row)
                        new ReadOnlySpan<float>(from, patch).CopyTo(new Span<float>(to, patch));
                }
            }
        }
    }

    private readonly struct ImagesJob(Patches p, float* rows, float* images, bool accumulate) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int patch = p.patch, row = p.channels * patch * patch;
            for (int plane = start; plane < end; plane++)
            {
                float* to = images + (long)plane * p.height * p.width;
                for (int y = 0; y < p.height; y++)
                {
                    float* from = p.FirstPatch(rows, plane, y);
                    for (int x = 0; x < p.width; x += patch, from += row, to += patch)
                    {
                        if (accumulate) for (int i = 0; i < patch; i++) to[i] += from[i];
                        else new ReadOnlySpan<float>(from, patch).CopyTo(new Span<float>(to, patch));
                    }
                }
            }
        }
    }
}
