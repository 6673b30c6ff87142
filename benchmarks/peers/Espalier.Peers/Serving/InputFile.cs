using System.Runtime.InteropServices;
using Espalier.Models;

namespace Espalier.Peers;

/// <summary>Files of raw floats, read as every peer reads them.</summary>
internal static class InputFile
{
    /// <summary>The first images: [batch, C, S, S].</summary>
    public static float[] Read(string path, int batch, VitConfig config) => Read(path, batch, config.Channels, config.ImageSize);

    public static float[] Read(string path, int batch, int channels, int size)
    {
        var images = new float[batch * channels * size * size];
        using FileStream file = File.OpenRead(path);
        file.ReadExactly(MemoryMarshal.AsBytes(images.AsSpan()));
        return images;
    }
}
