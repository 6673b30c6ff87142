using System.Formats.Tar;
using System.IO.Compression;
using Espalier.Data;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Data;

public sealed class CifarTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Two records; the pixels are 1, 2, 3 by plane plus ten times the record.</summary>
    private static byte[] Records(int first, int labelBytes = 1) => [.. Enumerable.Range(first, 2).SelectMany(n =>
        Enumerable.Repeat((byte)n, labelBytes).Concat(Enumerable.Range(0, 3072).Select(i => (byte)(10 * n + i / 1024 + 1))))];

    private void WriteBinary10(string under)
    {
        for (int i = 1; i <= 5; i++) folder.File($"{under}data_batch_{i}.bin", Records(i));
        folder.File($"{under}test_batch.bin", Records(8));
    }

    private static void Check(DatasetPair pair)
    {
        Assert.Equal((10, 2, "cifar10"), (pair.Train.Count, pair.Test.Count, pair.Info.Name));
        Assert.Equal([1, 2, 2, 3, 3, 4, 4, 5, 5, 6], Enumerable.Range(0, 10).Select(pair.Train.Label));
        var image = pair.Test.ReadImage(1);
        Assert.Equal((32, 32, 3), (image.Width, image.Height, image.Channels));
        Assert.Equal([91, 92, 93], image.Pixels[^3..]);
        Assert.Equal("truck", pair.Test.ClassNames[pair.Test.Label(1)]);
    }

    private string Archive(string name, params (string Name, byte[] Content)[] files)
    {
        var buffer = new MemoryStream();
        using (var zip = new GZipStream(buffer, CompressionLevel.Fastest, leaveOpen: true))
        using (var tar = new TarWriter(zip, TarEntryFormat.Ustar))
            foreach (var (file, content) in files)
                tar.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, file) { DataStream = new MemoryStream(content) });
        return folder.File(name, buffer.ToArray());
    }

    private string Archive10(byte[] test) => Archive("cifar-10-binary.tar.gz",
        [("cifar-10-batches-bin/readme.html", [1, 2, 3]),
            .. Enumerable.Range(1, 5).Select(i => ($"cifar-10-batches-bin/data_batch_{i}.bin", Records(i))),
            ("cifar-10-batches-bin/test_batch.bin", test)]);

    [Theory]
    [InlineData("")]
    [InlineData("cifar-10-batches-bin/")]
    [InlineData("cifar10/cifar-10-batches-bin/")]
    public void ExtractedFilesAreFound(string under)
    {
        WriteBinary10(under);
        Check(Datasets.Open("cifar10", folder.Path));
    }

    /// <summary>A header may claim any length for a name or for attributes: it is passed over, and nothing is held for it.</summary>
    [Theory]
    [InlineData('L')]
    [InlineData('x')]
    [InlineData('g')]
    public void HeadersThatClaimGigabytesCostNothing(char kind)
    {
        byte[] header = new byte[512];
        System.Text.Encoding.ASCII.GetBytes("././@LongLink").CopyTo(header, 0);
        System.Text.Encoding.ASCII.GetBytes("13000000000").CopyTo(header, 124);
        header[156] = (byte)kind;
        int sum = header.Sum(b => b) + 8 * ' ';
        System.Text.Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ").CopyTo(header, 148);
        var buffer = new MemoryStream();
        using (var zip = new GZipStream(buffer, CompressionLevel.Fastest, leaveOpen: true)) zip.Write([.. header, .. new byte[4096]]);
        string path = folder.File("cifar-10-binary.tar.gz", buffer.ToArray());
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("damaged or truncated", Assert.Throws<EspalierException>(() => Cifar.Open(path, 10)).Message);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
    }

    [Fact]
    public void TheArchiveIsReadWithoutExtracting()
    {
        string path = Archive10(Records(8));
        Check(Datasets.Open("cifar10", folder.Path));
        Check(Datasets.Open("cifar10", path));
    }

    [Fact]
    public void Cifar100TakesTheFineLabel()
    {
        byte[] train = Records(5, labelBytes: 2);
        train[0] = 3;
        train[1] = 99;
        folder.File("cifar-100-binary/train.bin", train);
        folder.File("cifar-100-binary/test.bin", Records(1, labelBytes: 2));
        var pair = Datasets.Open("cifar100", folder.Path);
        Assert.Equal((99, "worm", 100), (pair.Train.Label(0), pair.Train.ClassNames[99], pair.Info.Classes));
        Assert.Equal(100, pair.Train.ClassNames.Distinct().Count());
    }

    [Fact]
    public void PicklesOfPython2AreRead()
    {
        WritePython10(Pickle("python2"));
        CheckPickled(Datasets.Open("cifar10", folder.Path));
    }

    [Fact]
    public void PicklesOfPython3AreReadStraightFromTheArchive()
    {
        Archive("cifar-100-python.tar.gz", ("cifar-100-python/meta", [1]), ("cifar-100-python/test", Pickle("python3")),
            ("cifar-100-python/train", Pickle("python3")));
        CheckPickled(Datasets.Open("cifar100", folder.Path));
    }

    [Fact]
    public void DamagedPicklesAreErrorsThatNameTheFile()
    {
        byte[] whole = Pickle("python2");
        for (int length = 0; length < whole.Length; length += length < 300 ? 1 : 97)
            Assert.Contains("data_batch_1", PickleError(whole[..length]));
        Assert.Contains("label", PickleError(Replace(whole, [(byte)'K', 7], [(byte)'K', 10])));
        Assert.Contains("0 to 9", PickleError(Replace(whole, [(byte)'K', 7], [0x88])));     // True where a number is wanted
        Assert.Contains("numpy.dtypo", PickleError(Replace(whole, "dtype"u8, "dtypo"u8)));
        Assert.Contains("labels", PickleError(Replace(whole, "labels"u8, "babels"u8)));

        var rng = new Espalier.Tensors.Rng(9);
        for (int trial = 0; trial < 120; trial++)
        {
            byte[] flipped = [.. whole];
            flipped[trial < 80 ? rng.NextInt(200) : whole.Length - 1 - rng.NextInt(40)] ^= (byte)(1 << rng.NextInt(8));
            WritePython10(flipped);
            try
            {
                Cifar.Open(folder.Path, 10);
            }
            catch (EspalierException e)
            {
                Assert.DoesNotContain('\n', e.Message);
            }
        }
    }

    private static byte[] Pickle(string name) =>
        File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Goldens", "Cifar", name + ".pickle"));

    private static void CheckPickled(DatasetPair pair)
    {
        Assert.Equal([7, 4], Enumerable.Range(0, 2).Select(pair.Test.Label));
        Assert.Equal(pair.Info.Classes == 10 ? 10 : 2, pair.Train.Count);
        // tests/goldens/make_cifar.py: the sample at place i of record n is (7 i + 11 n) mod 251, the red plane first.
        byte[] pixels = pair.Test.ReadImage(1).Pixels;
        for (int i = 0; i < 1024; i++)
            for (int c = 0; c < 3; c++) Assert.Equal((7 * (1024 * c + i) + 11) % 251, pixels[3 * i + c]);
    }

    private void WritePython10(byte[] batch)
    {
        for (int i = 1; i <= 5; i++) folder.File($"data_batch_{i}", batch);
        folder.File("test_batch", Pickle("python2"));
    }

    private string PickleError(byte[] batch)
    {
        WritePython10(batch);
        return Assert.Throws<EspalierException>(() => Cifar.Open(folder.Path, 10)).Message;
    }

    private static byte[] Replace(byte[] data, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        int at = data.AsSpan().LastIndexOf(from);
        return [.. data[..at], .. to, .. data[(at + from.Length)..]];
    }

    [Fact]
    public void DamagedFilesAreNamed()
    {
        WriteBinary10("");
        string path = folder.File("data_batch_3.bin", Records(3)[..^1]);
        Assert.Contains("data_batch_3.bin", Assert.Throws<EspalierException>(() => Cifar.Open(folder.Path, 10)).Message);
        File.Delete(path);
        Assert.Contains("data_batch_3.bin", Assert.Throws<EspalierException>(() => Cifar.Open(folder.Path, 10)).Message);
        folder.File("data_batch_3.bin", Records(9));
        Assert.Contains("label 10", Assert.Throws<EspalierException>(() => Cifar.Open(folder.Path, 10)).Message);
    }

    [Fact]
    public void NothingThereSaysHowToGetIt()
    {
        string message = Assert.Throws<EspalierException>(() => Datasets.Open("cifar10", folder.Path)).Message;
        Assert.Contains("espalier data fetch cifar10", message);
        Assert.Contains("cifar-10-binary.tar.gz", message);
        Assert.Contains("cifar10", Assert.Throws<EspalierException>(() => Datasets.Open("imagenet", null)).Message);
    }

    [Fact]
    public void HostileArchivesAreErrors()
    {
        byte[] whole = File.ReadAllBytes(Archive10(Records(8)));
        // The last bytes hold only the archive's end, which nobody needs.
        for (int length = 0; length < whole.Length - 60; length += 7)
        {
            string path = folder.File("cifar-10-binary.tar.gz", whole[..length]);
            Assert.StartsWith(path, Assert.Throws<EspalierException>(() => Cifar.Open(path, 10)).Message);
        }
        var rng = new Espalier.Tensors.Rng(4);
        byte[] tar = Unzip(whole);
        for (int trial = 0; trial < 120; trial++)
        {
            byte[] flipped = [.. tar];
            // Only headers: pixels may have any value.
            int header = rng.NextInt(3) switch { 0 => 0, 1 => 1024, _ => 1024 + 512 + 6656 };
            flipped[header + rng.NextInt(512)] ^= (byte)(1 << rng.NextInt(8));
            string path = folder.File("cifar-10-binary.tar.gz", Zip(flipped));
            try
            {
                Assert.Equal(10, Cifar.Open(path, 10).Train.Count);
            }
            catch (EspalierException e)
            {
                Assert.StartsWith(path, e.Message);
            }
        }
    }

    private static byte[] Zip(byte[] data)
    {
        var buffer = new MemoryStream();
        using (var zip = new GZipStream(buffer, CompressionLevel.Fastest)) zip.Write(data);
        return buffer.ToArray();
    }

    private static byte[] Unzip(byte[] data)
    {
        var buffer = new MemoryStream();
        using (var zip = new GZipStream(new MemoryStream(data), CompressionMode.Decompress)) zip.CopyTo(buffer);
        return buffer.ToArray();
    }
}
