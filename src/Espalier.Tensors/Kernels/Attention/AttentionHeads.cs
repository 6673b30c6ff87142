namespace Espalier.Tensors.Kernels;

/// <summary>
/// Which rows and columns an attention call works on. Images are packed one after another: queries and outputs of image b are
/// rows queries[b] .. queries[b + 1] - 1, its keys and values rows keys[b] .. keys[b + 1] - 1. Head n has columns
/// queryColumns[n] .. queryColumns[n + 1] - 1 of queries and keys, valueColumns[n] .. of values and outputs.
/// </summary>
internal readonly unsafe struct AttentionHeads
{
    // Above so many query rows an image, packing its keys and values pays.
    private const int FewQueries = 4;

    /// <summary>[images + 1], rising.</summary>
    public readonly int* Queries, Keys;

    public readonly int Images;

    /// <summary>Heads in each image.</summary>
    public readonly int Count;

    /// <summary>[heads + 1], rising.</summary>
    public readonly int* QueryColumns, ValueColumns;

    /// <summary>What q·k is multiplied by before the softmax: 1/sqrt(d) of the unpruned head.</summary>
    public readonly float Scale;

    public AttentionHeads(
        int* queries, int* keys, int images, int count, int* queryColumns, int* valueColumns, float scale)
    {
        Queries = queries;
        Keys = keys;
        Images = images;
        Count = count;
        QueryColumns = queryColumns;
        ValueColumns = valueColumns;
        Scale = scale;
    }

    /// <summary>Pairs of image and head: the units of work.</summary>
    public int Pairs => Images * Count;

    /// <summary>Images for which <see cref="HasFewQueries"/>.</summary>
    public int ImagesOfFewQueries
    {
        get
        {
            int count = 0;
            for (int b = 0; b < Images; b++) count += HasFewQueries(b) ? 1 : 0;
            return count;
        }
    }

    /// <summary>The fewest pairs worth a thread: about 2 million multiply-adds, some 20 microseconds.</summary>
    public int Grain
    {
        get
        {
            double images = Math.Max(1, Images);
            double queries = Math.Max(1.0, (Queries[Images] - Queries[0]) / images);
            double keys = Math.Max(1.0, (Keys[Images] - Keys[0]) / images);
            double widths = (double)(QueryColumns[Count] + ValueColumns[Count]) / Count;
            return (int)Math.Clamp(2e6 / (queries * keys * widths), 1.0, 1 << 20);
        }
    }

    /// <summary>Whether keys and values are read in place: there are more keys than queries, and of these only a few. It depends on
    /// the image alone, and so an image's result does not depend on those beside it.</summary>
    public bool HasFewQueries(int image)
    {
        int queries = Queries[image + 1] - Queries[image];
        return queries <= FewQueries && queries < Keys[image + 1] - Keys[image];
    }

    /// <summary>Columns of a head's queries and keys.</summary>
    public int QueryWidth(int head) => QueryColumns[head + 1] - QueryColumns[head];

    /// <summary>Columns of a head's values and outputs.</summary>
    public int ValueWidth(int head) => ValueColumns[head + 1] - ValueColumns[head];

    /// <summary>Whether all widths are multiples of <paramref name="lanes"/>.</summary>
    public bool AreMultiplesOf(int lanes)
    {
        for (int n = 1; n <= Count; n++)
            if (QueryColumns[n] % lanes != 0 || ValueColumns[n] % lanes != 0) return false;
        return true;
    }
}
