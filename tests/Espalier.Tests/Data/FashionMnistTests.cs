using System.IO.Compression;
using Espalier.Data;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Data;

public class FashionMnistTests
{
    [Fact]
    public void SampleIsBalanced()
    {
        var (train, test, info) = Datasets.OpenSample();
        Assert.Equal((2000, 1000, 10), (train.Count, test.Count, info.Classes));
        Assert.All(Enumerable.Range(0, train.Count).GroupBy(train.Label), g => Assert.Equal(200, g.Count()));
        Assert.All(Enumerable.Range(0, test.Count).GroupBy(test.Label), g => Assert.Equal(100, g.Count()));
        var boot = train.ReadImage(0);
        Assert.Equal((28, 28, 1, 9), (boot.Width, boot.Height, boot.Channels, train.Label(0)));
        Assert.Equal("Ankle boot", train.ClassNames[9]);
        Assert.InRange(boot.Pixels.Average(p => p), 30, 200);
    }

    [Fact]
    public void PlainAndZippedFilesAreRead()
    {
        using var folder = new TempFolder();
        WriteSet(folder);
        var pair = FashionMnist.Open(folder.Path);
        Assert.Equal(2, pair.Train.Count);
        Assert.Equal(3, pair.Train.Label(1));
        Assert.Equal(784 % 256, pair.Test.ReadImage(1).Pixels[0]);
        Assert.True(FashionMnist.IsPresent(folder.Path));
    }

    [Fact]
    public void MissingFilesAreNamedWithTheWayToGetThem()
    {
        using var folder = new TempFolder();
        var e = Assert.Throws<EspalierException>(() => FashionMnist.Open(folder.Path));
        foreach (string part in new[] { folder.Path, "train-images-idx3-ubyte", "espalier data fetch", "dataset-fashion-mnist" })
            Assert.Contains(part, e.Message);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Fact]
    public void CountsMustMatchAndLabelsBeInRange()
    {
        using var folder = new TempFolder();
        WriteSet(folder);
        folder.File("train-labels-idx1-ubyte", Idx1([0, 1, 2]));
        Assert.Contains("do not belong together", Assert.Throws<EspalierException>(() => FashionMnist.Open(folder.Path)).Message);
        folder.File("train-labels-idx1-ubyte", Idx1([0, 10]));
        Assert.Contains("label 10", Assert.Throws<EspalierException>(() => FashionMnist.Open(folder.Path)).Message);
    }

    [Fact]
    public void EveryTruncationIsAnError()
    {
        using var folder = new TempFolder();
        byte[] whole = Idx1([1, 2, 3]);
        for (int length = 0; length < whole.Length; length++)
        {
            string path = folder.File("labels", whole[..length]);
            Assert.StartsWith(path, Assert.Throws<EspalierException>(() => Idx.Read(path, 1)).Message);
        }
        byte[] zipped = Zip(whole);
        int complete = zipped.Length - 10;                      // before the end mark, the checksum and the length
        for (int length = 0; length < complete; length++)
        {
            string path = folder.File("labels.gz", zipped[..length]);
            Assert.StartsWith(path, Assert.Throws<EspalierException>(() => Idx.Read(path, 1)).Message);
        }
    }

    [Fact]
    public void BitFlipsInAZippedFileAreErrorsOrData()
    {
        using var folder = new TempFolder();
        byte[] zipped = Zip(Idx1([.. Enumerable.Range(0, 100).Select(i => (byte)(i * i))]));
        int refused = 0;
        for (int bit = 0; bit < zipped.Length * 8; bit++)
        {
            byte[] flipped = [.. zipped];
            flipped[bit / 8] ^= (byte)(1 << (bit % 8));
            try
            {
                Assert.Single(Idx.Read(folder.File("labels.gz", flipped), 1).Shape);
            }
            catch (EspalierException)
            {
                refused++;
            }
        }
        Assert.InRange(refused, zipped.Length * 4, zipped.Length * 8);
    }

    [Theory]
    [InlineData("00000803000000010000000100000001AA")]      // three dimensions where one is wanted
    [InlineData("00000D0100000001AAAAAAAA")]                // floats
    [InlineData("0000080100000000")]                        // nothing
    [InlineData("000008017FFFFFFF00")]                      // a length that is not there
    [InlineData("00000801FFFFFFFF00")]
    [InlineData("0000080100000001AABB")]                    // more than the header says
    public void WrongHeadersAreRefusedWithoutTakingMemory(string hex)
    {
        using var folder = new TempFolder();
        string path = folder.File("a", Convert.FromHexString(hex)), zipped = folder.File("a.gz", Zip(Convert.FromHexString(hex)));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.StartsWith(path, Assert.Throws<EspalierException>(() => Idx.Read(path, 1)).Message);
        Assert.StartsWith(zipped, Assert.Throws<EspalierException>(() => Idx.Read(zipped, 1)).Message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    private static void WriteSet(TempFolder folder)
    {
        byte[] images = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28, .. Enumerable.Range(0, 1568).Select(i => (byte)i)];
        folder.File("train-images-idx3-ubyte", images);
        folder.File("train-labels-idx1-ubyte", Idx1([1, 3]));
        folder.File("t10k-images-idx3-ubyte.gz", Zip(images));
        folder.File("t10k-labels-idx1-ubyte.gz", Zip(Idx1([4, 5])));
    }

    private static byte[] Idx1(byte[] labels) => [0, 0, 8, 1, 0, 0, 0, (byte)labels.Length, .. labels];

    private static byte[] Zip(byte[] data)
    {
        var buffer = new MemoryStream();
        using (var zip = new GZipStream(buffer, CompressionLevel.Fastest)) zip.Write(data);
        return buffer.ToArray();
    }
}
