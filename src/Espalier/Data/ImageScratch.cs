using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>Pictures that one thread uses again and again between the steps of a pipeline. Not for two threads at once.</summary>
public sealed class ImageScratch
{
    private const int MaxKept = 32;
    private const long MaxBytes = 64 << 20;
    private readonly List<Image> images = [];
    private int used;

    /// <summary>A picture of that size with undefined content, valid until <see cref="Reset"/>.</summary>
    public Image Take(int width, int height, int channels)
    {
        int found = images.FindIndex(used, i => i.Width == width && i.Height == height && i.Channels == channels);
        if (found < 0)
        {
            found = images.Count;
            images.Add(new Image(width, height, channels));
        }
        (images[used], images[found]) = (images[found], images[used]);
        return images[used++];
    }

    /// <summary>Takes all pictures back; forgets the unused ones where sizes vary so much that they pile up, and all where they are large.
    /// </summary>
    public void Reset()
    {
        if (images.Count > MaxKept) images.RemoveRange(used, images.Count - used);
        if (images.Sum(i => (long)i.Pixels.Length) > MaxBytes) images.Clear();
        used = 0;
    }
}
