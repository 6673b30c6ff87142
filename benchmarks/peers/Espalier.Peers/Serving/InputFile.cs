using System.Runtime.InteropServices;

namespace Espalier.Peers;

/// <summary>Files of raw floats, read as every peer reads them.</summary>
internal static class InputFile
{
    /// <summary>The first images: [batch, C, S, S]; of texts, which have no channels, the first ids: [batch, S].</summary>
    public static float[] Read(string path, int batch, int channels, int size)
    {
        var images = new float[batch * (channels == 0 ? size : channels * size * size)];
        using FileStream file = File.OpenRead(path);
        file.ReadExactly(MemoryMarshal.AsBytes(images.AsSpan()));
        return images;
    }
}
