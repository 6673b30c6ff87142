using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Tensors;
using Xunit.Abstractions;

namespace Espalier.Tests.Imaging;

public class ImageFileTests(ITestOutputHelper output)
{
    /// <summary>Files that make_images.py wrote, each beside what Pillow makes of it.</summary>
    private static readonly string[] Names = [.. Directory.GetFiles(Golden.Path("")).Select(f => Path.GetFileName(f))
        .Where(f => File.Exists(Golden.Path($"read-{f.Replace('.', '-')}.png"))).Order(StringComparer.Ordinal)];

    public static TheoryData<string> Files => [.. Names];

    public static TheoryData<string> Jpegs => [.. Names.Where(f => f.EndsWith(".jpg", StringComparison.Ordinal))];

    [Fact]
    public void EveryKindHasFiles() => Assert.Equal([".bmp", ".gif", ".jpg", ".png", ".webp"],
        Names.Select(f => Path.GetExtension(f)).Distinct().Order(StringComparer.Ordinal));

    [Theory, MemberData(nameof(Files))]
    public void PixelsEqualPils(string file) =>
        Golden.AssertSame(Golden.Read("read-" + file.Replace('.', '-')), ImageFile.Read(Golden.Path(file)));

    /// <summary>Where the machine has libjpeg-turbo, it read the JPEGs above; here SkiaSharp does.</summary>
    [Theory, MemberData(nameof(Jpegs))]
    public void TheSystemsLibraryOnlyChangesTheSpeed(string file) => Golden.AssertSame(
        Golden.Read("read-" + file.Replace('.', '-')),
        ImageFile.Decode(File.ReadAllBytes(Golden.Path(file)), file, true, Image.MaxPixels, fast: false));

    /// <summary>Else all tests would be of the other reader, without a word.</summary>
    [Fact]
    public void TheSystemsLibraryIsUsedWhereItIsThere()
    {
        if (!NativeLibrary.TryLoad("libturbojpeg.so.0", out _))
        {
            Missing.Say("libturbojpeg.so.0", "libturbojpeg0", output);
            return;
        }
        Assert.True(JpegReader.IsAvailable);
        foreach (string file in new[] { "color.jpg", "gray.jpg" })
        {
            Image expected = Golden.Read("read-" + file.Replace('.', '-'));
            var read = new Image(expected.Width, expected.Height, expected.Channels);
            Assert.True(JpegReader.TryDecode(File.ReadAllBytes(Golden.Path(file)), read), file);
            Golden.AssertSame(expected, read);
        }
    }

    [Fact]
    public void TheStoredOrderCanBeKept()
    {
        Image stored = ImageFile.Read(Golden.Path("exif6.png"), upright: false);
        Image upright = ImageFile.Read(Golden.Path("exif6.png"));
        Assert.Equal((19, 11, 11, 19), (stored.Width, stored.Height, upright.Width, upright.Height));
        Assert.Equal(stored.Pixels[..3], upright.Pixels[(10 * 3)..(11 * 3)]);
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(37, 23, 3)]
    [InlineData(5, 300, 1)]
    public void WrittenPngReadsBack(int width, int height, int channels)
    {
        var image = new Image(width, height, channels);
        var rng = new Rng(3);
        for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)rng.NextInt(256);
        using var folder = new TempFolder();
        string path = Path.Combine(folder.Path, "a.png");
        PngWriter.Write(path, image);
        Golden.AssertSame(image, ImageFile.Read(path));
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void UnwritableFileIsOneClearError() =>
        Assert.Throws<EspalierException>(() => PngWriter.Write("/nowhere/at/all/a.png", new Image(1, 1, 1)));

    [Fact]
    public void NotAnImageIsOneClearError()
    {
        Assert.Equal($"{Golden.Path("other.tiff")}: TIFF images are not read; convert them to PNG.",
            Assert.Throws<EspalierException>(() => ImageFile.Read(Golden.Path("other.tiff"))).Message);
        Assert.Contains("HEIC", Refusal([0, 0, 0, 24, .. "ftypheic"u8, .. new byte[16]]));
        Assert.Contains("AVIF", Refusal([0, 0, 0, 24, .. "ftypavif"u8, .. new byte[16]]));
        Assert.Contains("git lfs pull", Refusal([.. "version https://git-lfs.github.com/spec/v1\noid sha256:"u8]));
        Assert.Contains("web page", Refusal([.. "\n<!DOCTYPE html><html>"u8]));
        Assert.Contains("macOS", Refusal([0, 5, 0x16, 7, 0, 2, 0, 0]));
        Assert.Contains("not a PNG, JPEG, BMP, GIF or WebP", Refusal([.. "%PDF-1.7"u8]));
        Assert.Contains("empty", Refusal([]));
        Assert.Contains("no.png", Assert.Throws<EspalierException>(() => ImageFile.Read("/nowhere/no.png")).Message);
    }

    public static TheoryData<string, byte[]> Tails => new()
    {
        { "zeros", new byte[1000] },
        { "a second picture, cut", File.ReadAllBytes(Golden.Path("gray.jpg"))[..^30] },
        { "a video that ends a picture and begins a scan", [.. "MotionPhoto_Data"u8, 0xFF, 0xD9, 1, 0xFF, 0xDA, 0, 8, 2] },
    };

    [Theory, MemberData(nameof(Tails))]
    public void WhatFollowsAJpegIsNotLookedAt(string what, byte[] tail)
    {
        Assert.NotEmpty(what);
        foreach (string file in new[] { "color.jpg", "color-444-progressive.jpg" })
            Golden.AssertSame(Golden.Read("read-" + file.Replace('.', '-')),
                ImageFile.Decode([.. File.ReadAllBytes(Golden.Path(file)), .. tail], file));
    }

    [Fact]
    public void APreviewInsideAJpegIsNotItsEnd()
    {
        byte[] jpeg = File.ReadAllBytes(Golden.Path("color.jpg")), preview = File.ReadAllBytes(Golden.Path("gray.jpg"));
        byte[] segment = [0xFF, 0xE1, (byte)((preview.Length + 2) >> 8), (byte)(preview.Length + 2), .. preview];
        byte[] both = [.. jpeg[..2], .. segment, .. jpeg[2..]];
        Golden.AssertSame(Golden.Read("read-color-jpg"), ImageFile.Decode(both, "preview.jpg"));
        Assert.Contains("truncated", Refusal(both[..^50]));
    }

    [Theory]
    [InlineData("alpha.png")]
    [InlineData("color.jpg")]
    [InlineData("color-444-progressive.jpg")]
    [InlineData("color.bmp")]
    [InlineData("color.gif")]
    [InlineData("lossy.webp")]
    [InlineData("alpha.webp")]
    public void EveryTruncationIsAnErrorThatNamesTheFile(string file)
    {
        byte[] whole = File.ReadAllBytes(Golden.Path(file));
        for (int length = 0; length < whole.Length - 2; length++)
        {
            EspalierException? e = null;
            try
            {
                ImageFile.Decode(whole[..length], "cut.img");
            }
            catch (EspalierException caught)
            {
                e = caught;
            }
            Assert.True(e != null, $"{length} of {whole.Length} bytes were accepted");
            Assert.StartsWith("cut.img", e.Message);
            Assert.DoesNotContain('\n', e.Message);
        }
    }

    /// <summary>A changed file gives a picture or an <see cref="EspalierException"/> of one line, nothing else.</summary>
    [Theory, MemberData(nameof(Files))]
    public void ChangedFilesNeverCrash(string file)
    {
        byte[] whole = File.ReadAllBytes(Golden.Path(file));
        var rng = new Rng(11);
        int refused = 0;
        for (int trial = 0; trial < 200; trial++)
        {
            byte[] changed = [.. whole];
            int at = rng.NextInt(2) == 0 ? rng.NextInt(whole.Length) : rng.NextInt(Math.Min(whole.Length, 48));
            if (trial % 2 == 0) changed[at] ^= (byte)(1 << rng.NextInt(8));
            else changed[at] = (byte)rng.NextInt(256);
            if (trial % 5 == 0) changed = [.. changed[..at], .. changed[rng.NextInt(whole.Length)..]];
            if (file.EndsWith(".png", StringComparison.Ordinal)) RightSums(changed);
            try
            {
                ImageFile.Decode(changed, "changed.img");
            }
            catch (EspalierException e)
            {
                Assert.DoesNotContain('\n', e.Message);
                refused++;
            }
        }
        Assert.NotEqual(0, refused);
    }

    [Fact]
    public void AWrongChecksumIsSeen()
    {
        byte[] png = File.ReadAllBytes(Golden.Path("rgb-in.png"));
        png[^20] ^= 1;
        Assert.Contains("checksum", Refusal(png));
    }

    /// <summary>A picture beyond the limit is read at the largest half, quarter or eighth that is not.</summary>
    [Theory]
    [InlineData(45 * 32, 1)]
    [InlineData(45 * 32 - 1, 2)]
    [InlineData(23 * 16, 2)]
    [InlineData(23 * 16 - 1, 4)]
    [InlineData(12 * 8 - 1, 8)]
    public void LargePngsComeReduced(int limit, int factor)
    {
        Image read = ImageFile.Decode(File.ReadAllBytes(Golden.Path("rgb-in.png")), "large.png", true, limit);
        if (factor == 1) Golden.AssertSame(Golden.Read("rgb-in"), read);
        else Golden.AssertSame(Golden.Read($"reduce-rgb-{factor}"), read);
    }

    [Fact]
    public void LargeJpegsComeReducedAndOtherKindsAreRefused()
    {
        byte[] jpeg = File.ReadAllBytes(Golden.Path("color.jpg"));
        Image half = ImageFile.Decode(jpeg, "large.jpg", true, 37 * 23 - 1), whole = ImageFile.Read(Golden.Path("color.jpg"));
        Assert.Equal((19, 12, 3), (half.Width, half.Height, half.Channels));
        Assert.InRange(Math.Abs(whole.Pixels.Average(p => p) - half.Pixels.Average(p => p)), 0, 3);
        foreach (string file in new[] { "color.jpg", "rgb-in.png", "color.bmp", "color.gif", "lossy.webp" })
            Assert.Contains("megapixels", Assert.Throws<EspalierException>(
                () => ImageFile.Decode(File.ReadAllBytes(Golden.Path(file)), "large", true, 10)).Message);
    }

    /// <summary>Headers that ask for far more than a few hundred bytes can hold.</summary>
    [Fact]
    public void SmallFilesCannotTakeMuchMemory()
    {
        byte[] jpeg = File.ReadAllBytes(Golden.Path("color.jpg"));
        int frame = jpeg.AsSpan().IndexOf((byte[])[0xFF, 0xC0]);
        jpeg[frame + 5] = jpeg[frame + 7] = 0x1F;           // 7,959 x 7,973 pixels
        Assert.Contains("truncated", Refusal(jpeg));
        jpeg = File.ReadAllBytes(Golden.Path("color-444-progressive.jpg"));
        frame = jpeg.AsSpan().IndexOf((byte[])[0xFF, 0xC2]);
        jpeg[frame + 5] = jpeg[frame + 7] = 0x1F;
        Assert.Contains("takes 363 MB", Refusal([.. jpeg[..2], .. Comments(8), .. jpeg[2..]]));
        jpeg = File.ReadAllBytes(Golden.Path("color.jpg"));
        byte[] scan = jpeg[jpeg.AsSpan().IndexOf((byte[])[0xFF, 0xDA])..^2];
        Assert.Contains("101 scans", Refusal([.. jpeg[..^2], .. Enumerable.Repeat(scan, 100).SelectMany(s => s), 0xFF, 0xD9]));

        byte[] png = File.ReadAllBytes(Golden.Path("gray-in.png"));
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(16), 8000);
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(20), 8000);
        RightSums(png);
        Assert.Contains("truncated", Refusal(png));
    }

    [Fact]
    public void HugeSizesAreRefusedBeforeMemoryIsTaken()
    {
        byte[] png = File.ReadAllBytes(Golden.Path("gray-in.png"));
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(16), 60_000);
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(20), 60_000);
        RightSums(png);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("megapixels", Assert.Throws<EspalierException>(() => ImageFile.Decode(png, "big.png")).Message);

        byte[] jpeg = File.ReadAllBytes(Golden.Path("color.jpg"));
        int frame = jpeg.AsSpan().IndexOf(new byte[] { 0xFF, 0xC0 });
        jpeg.AsSpan(frame + 5, 4).Fill(0xF0);
        Assert.Contains("truncated", Assert.Throws<EspalierException>(() => ImageFile.Decode(jpeg, "big.jpg")).Message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Theory]
    [InlineData(0, 1, 1)]
    [InlineData(1, 1, 2)]
    [InlineData(1 << 16, 1 << 16, 3)]
    public void PictureOfImpossibleSizeCannotBeMade(int width, int height, int channels)
    {
        Assert.Throws<ArgumentException>(() => new Image(width, height, channels));
        Assert.Throws<ArgumentException>(() => new Image(2, 2, 1, new byte[3]));
    }

    private static string Refusal(byte[] data) =>
        Assert.Throws<EspalierException>(() => ImageFile.Decode(data, "refused.img")).Message;

    private static IEnumerable<byte> Comments(int count) =>
        Enumerable.Repeat((byte[])[0xFF, 0xFE, 0xFF, 0xFF, .. new byte[0xFFFD]], count).SelectMany(s => s);

    /// <summary>Corrects the checksums of a PNG's chunks, so that what is changed gets as far as it can.</summary>
    private static void RightSums(byte[] png)
    {
        for (int at = 8; at + 12 <= png.Length;)
        {
            uint size = BinaryPrimitives.ReadUInt32BigEndian(png.AsSpan(at));
            if (size > png.Length - at - 12) return;
            uint sum = Crc32.Append(0, png.AsSpan(at + 4, (int)size + 4));
            BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(at + 8 + (int)size), sum);
            at += (int)size + 12;
        }
    }
}
