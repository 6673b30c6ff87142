using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Espalier.Imaging;

/// <summary>PNG through libpng 1.6's simplified interface, which reports errors by return value and needs no callbacks.</summary>
internal static unsafe class PngReader
{
    private const uint StructVersion = 1;
    private const uint FlagAlpha = 1, FlagColor = 2;            // PNG_FORMAT_FLAG_*
    private const uint Flag16BitSrgb = 4;                       // PNG_IMAGE_FLAG_16BIT_sRGB: take 16-bit samples as they are
    private const int ErrorBit = 2;                             // of warning_or_error

    /// <summary>png_image of png.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct PngImage
    {
        public nint Opaque;
        public uint Version, Width, Height, Format, Flags, ColormapEntries, WarningOrError;
        public fixed byte Message[64];
    }

    public static Image Decode(byte[] data, string name)
    {
        var begin = (delegate* unmanaged[Cdecl]<PngImage*, byte*, nuint, int>)Function("png_image_begin_read_from_memory", name);
        var finish = (delegate* unmanaged[Cdecl]<PngImage*, void*, byte*, int, void*, int>)
            Function("png_image_finish_read", name);
        var free = (delegate* unmanaged[Cdecl]<PngImage*, void>)Function("png_image_free", name);

        byte[] essential = EssentialChunks(data, name);
        PngImage png = default;
        png.Version = StructVersion;
        try
        {
            // libpng keeps the pointer between the two calls, so both are inside one fixed block.
            fixed (byte* source = essential)
            {
                if (begin(&png, source, (nuint)essential.Length) == 0) throw Damaged(png, name);
                ImageFile.CheckSize(png.Width, png.Height, name);

                // Alpha has to be read where the file has it: asked for less, libpng would blend with a background.
                png.Format &= FlagAlpha | FlagColor;
                png.Flags |= Flag16BitSrgb;
                int width = (int)png.Width, height = (int)png.Height;
                int colors = (png.Format & FlagColor) != 0 ? 3 : 1, samples = colors + (int)(png.Format & FlagAlpha);
                byte[] pixels = new byte[checked(width * height * samples)];
                fixed (byte* target = pixels)
                {
                    int ok = finish(&png, null, target, width * samples, null);
                    if (ok == 0 || (png.WarningOrError & ErrorBit) != 0) throw Damaged(png, name);
                }
                return new Image(width, height, colors, samples == colors ? pixels : DropAlpha(pixels, colors));
            }
        }
        finally
        {
            free(&png);
        }
    }

    private static byte[] DropAlpha(byte[] pixels, int colors)
    {
        byte[] opaque = new byte[pixels.Length / (colors + 1) * colors];
        for (int from = 0, to = 0; to < opaque.Length; from += colors + 1, to += colors)
            pixels.AsSpan(from, colors).CopyTo(opaque.AsSpan(to));
        return opaque;
    }

    /// <summary>
    /// The file with only the chunks that say what the pixels are. Without gAMA, cHRM, sRGB and iCCP libpng does not correct
    /// colours (PIL does not either); without text chunks a small file cannot unfold into much memory.
    /// </summary>
    private static byte[] EssentialChunks(byte[] data, string name)
    {
        const int signature = 8, overhead = 12;
        byte[] kept = new byte[data.Length];
        data.AsSpan(0, signature).CopyTo(kept);
        int at = signature, length = signature;
        bool ended = false;
        while (!ended)
        {
            if (data.Length - at < overhead) throw Truncated(name);
            uint size = BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(at));
            if (size > (uint)(data.Length - at - overhead)) throw Truncated(name);
            int whole = (int)size + overhead;
            var type = data.AsSpan(at + 4, 4);
            ended = type.SequenceEqual("IEND"u8);
            bool wanted = ended || type.SequenceEqual("IHDR"u8) || type.SequenceEqual("PLTE"u8)
                || type.SequenceEqual("tRNS"u8) || type.SequenceEqual("IDAT"u8);
            if (wanted)
            {
                data.AsSpan(at, whole).CopyTo(kept.AsSpan(length));
                length += whole;
            }
            at += whole;
        }
        return kept[..length];
    }

    private static EspalierException Truncated(string name) => new($"{name}: the PNG file is truncated; get a whole copy.");

    private static EspalierException Damaged(PngImage png, string name) =>
        new($"{name}: damaged PNG file: {Marshal.PtrToStringUTF8((nint)png.Message)}");

    private static nint Function(string function, string file) => NativeCodec.Png.Export(function, file);
}
