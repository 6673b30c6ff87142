namespace Espalier.Imaging;

/// <summary>The blocks of a GIF file (GIF89a specification) in front of its first picture.</summary>
internal static class GifBlocks
{
    private const int HeaderLength = 13, PaletteFlag = 0x80, TransparencyFlag = 1;
    private const byte Extension = 0x21, GraphicControl = 0xF9;

    /// <summary>
    /// A copy in which the first picture has no transparent colour: alpha is dropped and not blended, so the colour of the
    /// palette is wanted where a decoder would give black.
    /// </summary>
    public static byte[] WithoutTransparency(ReadOnlySpan<byte> data)
    {
        byte[] copy = data.ToArray();
        if (copy.Length < HeaderLength) return copy;
        int at = HeaderLength + ((copy[10] & PaletteFlag) != 0 ? 3 << ((copy[10] & 7) + 1) : 0);
        while (at + 3 < copy.Length && copy[at] == Extension)
        {
            if (copy[at + 1] == GraphicControl) copy[at + 3] &= unchecked((byte)~TransparencyFlag);
            // Sub-blocks with their length in front, up to one of length 0.
            for (at += 2; at < copy.Length && copy[at] != 0;) at += copy[at] + 1;
            at++;
        }
        return copy;
    }
}
