using System.Buffers.Binary;

namespace Espalier.Imaging;

/// <summary>Turns pictures upright that a camera held sideways has stored as the sensor saw them (EXIF tag 0x0112).</summary>
internal static class Orientation
{
    private const int Tag = 0x0112, Entry = 12;

    /// <summary>The number in an EXIF block (a TIFF header and a list of tags, TIFF 6.0); 1 where there is none.</summary>
    public static int Read(ReadOnlySpan<byte> exif)
    {
        bool little = exif.StartsWith("II*\0"u8);
        if (exif.Length < 8 || (!little && !exif.StartsWith("MM\0*"u8))) return 1;
        uint list = little ? BinaryPrimitives.ReadUInt32LittleEndian(exif[4..]) : BinaryPrimitives.ReadUInt32BigEndian(exif[4..]);
        if (list > exif.Length - 2) return 1;
        var tags = exif[((int)list + 2)..];
        int count = Math.Min(Short(exif[(int)list..], little), tags.Length / Entry);
        for (int i = 0; i < count; i++)
            if (Short(tags[(i * Entry)..], little) == Tag) return Short(tags[(i * Entry + 8)..], little);
        return 1;
    }

    /// <summary>The picture as it is to be seen, as Pillow's <c>exif_transpose</c> gives it.</summary>
    /// <param name="origin">EXIF's number: where the stored picture's first row and column are, 1 (as seen) to 8.</param>
    public static Image Upright(Image image, int origin)
    {
        if (origin is < 2 or > 8) return image;
        int width = image.Width, height = image.Height, channels = image.Channels;
        bool transposed = origin >= 5;
        var target = transposed ? new Image(height, width, channels) : new Image(width, height, channels);
        // Where pixel (0, 0) goes, and how far the target moves for a step along the source's row and column.
        bool right = origin is 2 or 3 or 6 or 7, bottom = origin is 3 or 4 or 7 or 8;
        int startX = right ? target.Width - 1 : 0, startY = bottom ? target.Height - 1 : 0;
        int stepX = right ? -channels : channels, stepY = (bottom ? -target.Width : target.Width) * channels;
        var (along, down) = transposed ? (stepY, stepX) : (stepX, stepY);
        byte[] from = image.Pixels, to = target.Pixels;
        int first = (startY * target.Width + startX) * channels;
        for (int y = 0, i = 0; y < height; y++, first += down)
            for (int x = 0, j = first; x < width; x++, j += along, i += channels)
            {
                to[j] = from[i];
                if (channels == 1) continue;
                to[j + 1] = from[i + 1];
                to[j + 2] = from[i + 2];
            }
        return target;
    }

    private static int Short(ReadOnlySpan<byte> data, bool little) =>
        little ? BinaryPrimitives.ReadUInt16LittleEndian(data) : BinaryPrimitives.ReadUInt16BigEndian(data);
}
