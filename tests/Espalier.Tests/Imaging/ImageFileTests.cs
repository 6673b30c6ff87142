using System.Buffers.Binary;
using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Tests.Imaging;

public class ImageFileTests
{
    [Theory]
    [InlineData("color.jpg")]
    [InlineData("color-444-progressive.jpg")]
    [InlineData("gray.jpg")]
    [InlineData("palette.png")]
    [InlineData("one-bit.png")]
    [InlineData("alpha.png")]
    [InlineData("gray-alpha.png")]
    [InlineData("gamma.png")]
    public void PixelsEqualPils(string file) =>
        Golden.AssertSame(Golden.Read("read-" + file.Replace('.', '-')), ImageFile.Read(Golden.Path(file)));

    [Fact]
    public void CmykJpegIsRefusedWithItsName()
    {
        var e = Assert.Throws<EspalierException>(() => ImageFile.Read(Golden.Path("cmyk.jpg")));
        Assert.Contains("cmyk.jpg", e.Message);
        Assert.Contains("CMYK", e.Message);
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
        Assert.Contains("neither", Assert.Throws<EspalierException>(() => ImageFile.Decode([.. "GIF89a"u8], "x.png")).Message);
        Assert.Contains("empty", Assert.Throws<EspalierException>(() => ImageFile.Decode([], "x.png")).Message);
        Assert.Contains("no.png", Assert.Throws<EspalierException>(() => ImageFile.Read("/nowhere/no.png")).Message);
    }

    [Theory]
    [InlineData("alpha.png")]
    [InlineData("color.jpg")]
    [InlineData("color-444-progressive.jpg")]
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

    /// <summary>A flipped bit gives a picture or an <see cref="EspalierException"/>, nothing else.</summary>
    [Theory]
    [InlineData("alpha.png")]
    [InlineData("palette.png")]
    [InlineData("color.jpg")]
    [InlineData("color-444-progressive.jpg")]
    public void BitFlipsNeverCrash(string file)
    {
        byte[] whole = File.ReadAllBytes(Golden.Path(file));
        var rng = new Rng(11);
        int refused = 0;
        for (int trial = 0; trial < 1000; trial++)
        {
            byte[] flipped = [.. whole];
            flipped[rng.NextInt(whole.Length)] ^= (byte)(1 << rng.NextInt(8));
            try
            {
                ImageFile.Decode(flipped, "flipped.img");
            }
            catch (EspalierException)
            {
                refused++;
            }
        }
        Assert.NotEqual(0, refused);
    }

    [Fact]
    public void HugeSizesAreRefusedBeforeMemoryIsTaken()
    {
        byte[] png = File.ReadAllBytes(Golden.Path("gray-in.png"));
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(16), 60_000);
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(20), 60_000);
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(29), Crc(png.AsSpan(12, 17)));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("megapixels", Assert.Throws<EspalierException>(() => ImageFile.Decode(png, "big.png")).Message);

        byte[] jpeg = File.ReadAllBytes(Golden.Path("color.jpg"));
        int frame = jpeg.AsSpan().IndexOf(new byte[] { 0xFF, 0xC0 });
        jpeg.AsSpan(frame + 5, 4).Fill(0xF0);
        Assert.Contains("megapixels", Assert.Throws<EspalierException>(() => ImageFile.Decode(jpeg, "big.jpg")).Message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Fact]
    public void MissingLibraryNamesTheDebianPackage()
    {
        var codec = new NativeCodec("libnothing", "libnothing0", ["libnothing-at-all.so.0"]);
        var e = Assert.Throws<EspalierException>(() => codec.Export("f", "a.jpg"));
        Assert.Contains("apt install libnothing0", e.Message);
        Assert.Contains("a.jpg", e.Message);
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

    private static uint Crc(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
        }
        return ~crc;
    }
}
