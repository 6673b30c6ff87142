using System.Runtime.InteropServices;
using SkiaSharp;

namespace Espalier.Imaging;

/// <summary>
/// Reads pictures by SkiaSharp to the bytes that Pillow's <c>convert("RGB")</c> or <c>convert("L")</c> gives: no colour
/// correction, alpha dropped and not blended, the high byte of 16-bit samples. Rows are taken from the decoder in bands,
/// so that little beside the picture is in memory.
/// </summary>
internal static unsafe class SkiaReader
{
    // A band of 16 megapixels: a larger PNG is decoded from its start for each, others only once.
    private const int BandPixels = 16 << 20;

    /// <summary>
    /// The picture in the file. Where it has more than <paramref name="maxPixels"/>, JPEG and PNG are read at a half, a
    /// quarter or an eighth of the sides; the others are refused, and so is what is too large even then.
    /// </summary>
    /// <param name="data">The whole file, of the kind that its signature says.</param>
    /// <param name="fast">Lets the system's library read a JPEG where it is there.</param>
    /// <param name="origin">Becomes the EXIF orientation where the decoder knows it.</param>
    /// <exception cref="EspalierException">Damaged or too large.</exception>
    public static Image Decode(ReadOnlySpan<byte> data, ImageKind kind, string name, long maxPixels, long maxSource, bool fast,
        ref int origin)
    {
        // The codec reads from here until it is disposed of, inside the fixed block.
        fixed (byte* source = data)
        {
            using var bytes = SKData.Create((nint)source, data.Length);
            using var codec = Open(bytes, kind, name);
            SKImageInfo info = codec.Info;
            int factor = Reduction(info.Width, info.Height, kind, name, maxPixels, maxSource);
            bool gray = info.ColorType == SKColorType.Gray8 || (kind == ImageKind.Png && PngChunks.IsGray(data));
            var image = new Image((info.Width - 1) / factor + 1, (info.Height - 1) / factor + 1, gray ? 1 : 3);
            bool filled = fast && kind == ImageKind.Jpeg && factor == 1 && JpegReader.TryDecode(data, image);
            if (!filled) Fill(image, codec, kind, factor, name);
            if (kind != ImageKind.Png) origin = (int)codec.EncodedOrigin;
            return image;
        }
    }

    private static SKCodec Open(SKData bytes, ImageKind kind, string name)
    {
        try
        {
            return SKCodec.Create(bytes) ?? throw Damaged(kind, name);
        }
        catch (Exception e) when (e is DllNotFoundException or TypeInitializationException)
        {
            throw new EspalierException($"{name}: SkiaSharp's native library is not beside the program; add the package "
                + "SkiaSharp.NativeAssets of this system.", e);
        }
    }

    /// <summary>That of JPEG and GIF.</summary>
    private const int LongestSide = 65535;

    /// <summary>1, 2, 4 or 8: what the sides are divided by.</summary>
    private static int Reduction(int width, int height, ImageKind kind, string name, long maxPixels, long maxSource)
    {
        if (width < 1 || height < 1)
            throw new EspalierException($"{name}: damaged image: its header says {width} x {height} pixels.");
        // What is scaled passes through a picture as long as one side and as wide as the result.
        if (width > LongestSide || height > LongestSide)
            throw new EspalierException($"{name}: {width} x {height} pixels: a side has at most {LongestSide}; cut it, or scale it down.");
        bool reducible = kind is ImageKind.Jpeg or ImageKind.Png;
        // The others are decoded whole, four bytes a pixel, before they are copied.
        long limit = reducible ? maxPixels : maxPixels / 2;
        int factor = 1;
        while (reducible && factor < 8 && Reduced(factor) > limit) factor *= 2;
        if (Reduced(factor) <= limit && (long)width * height <= maxSource) return factor;
        limit = Math.Min(maxSource, reducible ? limit * factor * factor : limit);
        throw new EspalierException(
            $"{name}: {width} x {height} pixels is too large (limit {limit >> 20} megapixels); scale it down.");

        long Reduced(int by) => ((width - 1L) / by + 1) * ((height - 1L) / by + 1);
    }

    private static void Fill(Image image, SKCodec codec, ImageKind kind, int factor, string name)
    {
        SKImageInfo stored = codec.Info;
        bool gray = stored.ColorType == SKColorType.Gray8;
        var alpha = stored.AlphaType == SKAlphaType.Opaque ? SKAlphaType.Opaque : SKAlphaType.Unpremul;
        // A JPEG is scaled by its decoder, a PNG row by row by us.
        var (width, height, shrink) = kind == ImageKind.Png ? (stored.Width, stored.Height, factor) : (image.Width, image.Height, 1);
        var info = new SKImageInfo(width, height, gray ? SKColorType.Gray8 : SKColorType.Rgba8888, alpha, null);

        int rows = kind switch
        {
            ImageKind.Jpeg => Math.Min(64, height),
            ImageKind.Png => Math.Min(Math.Max(BandPixels / width / 8 * 8, 8), height),
            _ => height,
        };
        if (kind == ImageKind.Jpeg && codec.StartScanlineDecode(info) != SKCodecResult.Success) throw Damaged(kind, name);
        byte* band = (byte*)NativeMemory.AllocZeroed((nuint)rows, (nuint)info.RowBytes);
        try
        {
            for (int top = 0; top < height; top += rows)
            {
                int count = Math.Min(rows, height - top);
                bool whole = kind switch
                {
                    ImageKind.Jpeg => codec.GetScanlines((nint)band, count, info.RowBytes) == count,
                    ImageKind.Png => PngBand(codec, info, band, top, count),
                    _ => codec.GetPixels(info, (nint)band) == SKCodecResult.Success,
                };
                if (!whole) throw Damaged(kind, name);
                PixelRows.Store(new ReadOnlySpan<byte>(band, checked(info.RowBytes * count)), width, info.BytesPerPixel, shrink,
                    image, top / shrink);
            }
        }
        finally
        {
            NativeMemory.Free(band);
        }
    }

    /// <summary>Rows top .. top + count - 1; the decoder passes over those in front of them.</summary>
    private static bool PngBand(SKCodec codec, SKImageInfo info, byte* band, int top, int count)
    {
        var options = new SKCodecOptions(new SKRectI(0, top, info.Width, top + count));
        return codec.StartIncrementalDecode(info, (nint)band, info.RowBytes, options) == SKCodecResult.Success
            && codec.IncrementalDecode() == SKCodecResult.Success;
    }

    private static EspalierException Damaged(ImageKind kind, string name) =>
        new($"{name}: the {(kind == ImageKind.WebP ? "WebP" : kind.ToString().ToUpperInvariant())} file is damaged or "
            + "truncated; get a whole copy.");
}
