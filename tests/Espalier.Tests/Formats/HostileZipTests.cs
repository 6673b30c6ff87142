using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Espalier.Formats;

namespace Espalier.Tests.Formats;

public sealed class HostileZipTests
{
    private const string Header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";

    [Theory]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }", "dimension -2")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999, 99999), }", "more elements")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (500000000,), }", "promises 2000000")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "promises")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "damaged")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (2,), }", "damaged")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, }", "damaged")]
    [InlineData("{'descr': '<f4', 'fortran_order': 1, 'shape': (2,), }", "damaged")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } + evil()", "damaged")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,), }", "damaged")]
    [InlineData("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "structured")]
    [InlineData("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "'<c8'")]
    [InlineData("{'descr': '<f4", "damaged")]
    [InlineData("", "damaged")]
    public void RefusesHeadersOfArrays(string header, string reason) =>
        Assert.Contains(reason, Refusal(Zip(("a.npy", Npy(header)))));

    [Fact]
    public void TheGoodFormOfThoseIsRead() =>
        Assert.Equal([0f, 0f], CheckpointFile.Read(new MemoryStream(Zip(("a.npy", Npy(Header)))), "file")["a"].Data);

    [Fact]
    public void RefusesADimensionTooMany()
    {
        string dims = string.Concat(Enumerable.Repeat("1,", 33));
        string message = Refusal(Zip(("a.npy", Npy($"{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}"))));
        Assert.Contains("33 dimensions", message);
    }

    [Fact]
    public void RefusesAZipBomb()
    {
        // 200 MB of zeros in 200 kB, with a header that is right: only the ratio gives it away.
        byte[] zeros = new byte[200 << 20];
        string header = $"{{'descr': '<f4', 'fortran_order': False, 'shape': ({(zeros.Length - 128) / 4},), }}";
        Npy(header, 128).AsSpan(0, 128).CopyTo(zeros);
        byte[] bomb = Zip(CompressionLevel.Optimal, ("a.npy", zeros));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("zip bomb", Refusal(bomb));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 10 << 20);
    }

    /// <summary>The sizes in the directory are lies: too large, then too small.</summary>
    [Theory]
    [InlineData(1, "longer than the zip directory says", -4)]
    [InlineData(1, "shorter than the zip directory says", 4)]
    [InlineData(1, "holds", 1 << 30)]
    [InlineData(0, "holds", 4)]
    [InlineData(0, "holds", -4)]
    public void RefusesWrongSizes(int deflated, string reason, int lie)
    {
        // The array's own header is made to agree with the lie, so that the zip reader is the one to notice.
        byte[] content = Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }");
        byte[] agreeing = Npy($"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2 + lie / 4},), }}");
        agreeing.AsSpan(0, content.Length - 8).CopyTo(content);
        byte[] zip = Zip(deflated == 1 ? CompressionLevel.Optimal : CompressionLevel.NoCompression, ("a.npy", content));
        int directory = zip.AsSpan().IndexOf("PK\u0001\u0002"u8);
        BinaryPrimitives.WriteInt32LittleEndian(zip.AsSpan(directory + 24), content.Length + lie);
        Assert.Contains(reason, Refusal(zip));
    }

    [Fact]
    public void RefusesOverlappingEntries()
    {
        // Both directory records point to the first entry, as in the bombs that reuse one kernel of data.
        byte[] zip = Zip(("a.npy", Npy(Header)), ("b.npy", Npy(Header)));
        int second = zip.AsSpan().LastIndexOf("PK\u0001\u0002"u8);
        BinaryPrimitives.WriteInt32LittleEndian(zip.AsSpan(second + 42), 0);
        Assert.Contains("overlaps", Refusal(zip));
    }

    [Fact]
    public void RefusesANameThatIsThereTwice() =>
        Assert.Contains("twice", Refusal(Zip(("a.npy", Npy(Header)), ("a.npy", Npy(Header)))));

    [Fact]
    public void RefusesADamagedByteInTheData()
    {
        byte[] zip = Zip(("a.npy", Npy(Header)));
        int directory = zip.AsSpan().IndexOf("PK\u0001\u0002"u8);
        zip[directory - 1] ^= 1;    // the last byte of the data
        Assert.Contains("checksum", Refusal(zip));
    }

    [Theory]
    [InlineData("PK\u0005\u0006")]
    [InlineData("PK\u0003\u0004 and then something else")]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("\u0093NUMPY\u0001\0v\0")]
    public void RefusesOtherFiles(string content) => Assert.NotEmpty(Refusal(Encoding.Latin1.GetBytes(content)));

    [Fact]
    public void RefusesAZipThatIsNoCheckpoint() =>
        Assert.Contains("not a checkpoint", Refusal(Zip(("readme.txt", "hello"u8.ToArray()))));

    [Fact]
    public void MissingFilesAndFoldersAreNamed()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("no such file", Assert.Throws<EspalierException>(() => CheckpointFile.Read(folder["x"])).Message);
        Assert.Contains("folder", Assert.Throws<EspalierException>(() => CheckpointFile.Read(folder.FullName)).Message);
    }

    private static string Refusal(byte[] bytes) =>
        Assert.Throws<EspalierException>(() => CheckpointFile.Read(new MemoryStream(bytes), "file")).Message;

    /// <summary>A version 1 array with that header and two floats.</summary>
    private static byte[] Npy(string header, int length = 0)
    {
        string padded = length == 0 ? header : header.PadRight(length - 10);
        byte[] text = Encoding.ASCII.GetBytes(padded);
        return [0x93, .. "NUMPY"u8, 1, 0, (byte)text.Length, (byte)(text.Length >> 8), .. text, .. new byte[8]];
    }

    private static byte[] Zip(params (string Name, byte[] Content)[] entries) => Zip(CompressionLevel.NoCompression, entries);

    private static byte[] Zip(CompressionLevel level, params (string Name, byte[] Content)[] entries)
    {
        using var file = new MemoryStream();
        using (var zip = new ZipArchive(file, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach ((string name, byte[] bytes) in entries)
            {
                using Stream content = zip.CreateEntry(name, level).Open();
                content.Write(bytes);
            }
        }
        return file.ToArray();
    }
}
