using System.IO.Compression;
using Espalier.Formats;
using static Espalier.Tests.Formats.FormatFiles;

namespace Espalier.Tests.Formats;

/// <summary>
/// A damaged file is read, or refused by one line; it never ends in another exception, and never takes memory out of all
/// proportion. The files are cut at every length and each of their bits is turned once.
/// </summary>
public sealed class MutationTests
{
    private const long MaxAllocation = 50 << 20;

    public static TheoryData<string> Files =>
        ["parallel.pt", "views.pth", "nested.pth", "plain.npz", "packed.npz", "zip64.npz", "by_hand.safetensors", "legacy_views.pth"];

    [Theory]
    [MemberData(nameof(Files))]
    public void CutShort(string file)
    {
        byte[] bytes = File.ReadAllBytes(Golden(file));
        for (int length = 0; length < bytes.Length; length++)
            Assert.NotNull(Try(bytes[..length], ReadCheckpoint));    // none of these formats survives a missing end
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void EveryBit(string file) => TurnEveryBit(File.ReadAllBytes(Golden(file)), bytes => Try(bytes, ReadCheckpoint));

    /// <summary>A tar may lose the zeros at its end; its checksums are of headers alone.</summary>
    [Fact]
    public void OldTar()
    {
        byte[] bytes = File.ReadAllBytes(Golden("before_0_2.pth"));
        for (int length = 0; length < bytes.Length; length += 13) Try(bytes[..length], ReadCheckpoint);
        for (int i = 0; i < 8 * bytes.Length; i += 5)
        {
            bytes[i / 8] ^= (byte)(1 << i % 8);
            Try(bytes, ReadCheckpoint);
            bytes[i / 8] ^= (byte)(1 << i % 8);
        }
    }

    /// <summary>A fresh checksum lets the damage through to the pickle machine.</summary>
    [Theory]
    [InlineData("parallel.pt", "parallel/data.pkl")]
    [InlineData("views.pth", "views/data.pkl")]
    [InlineData("protocol4.pt", "protocol4/data.pkl")]
    [InlineData("objects.pth", "objects/data.pkl")]
    [InlineData("plain.npz", "fortran.npy")]
    public void EveryBitOfAnEntry(string file, string entry)
    {
        Dictionary<string, byte[]> entries = Unzip(File.ReadAllBytes(Golden(file)));
        TurnEveryBit(entries[entry].ToArray(), bytes =>
        {
            entries[entry] = bytes;
            return Try(Zip(entries), ReadCheckpoint);
        });
    }

    [Theory]
    [InlineData("batch2.pickle")]
    [InlineData("batch4.pickle")]
    [InlineData("batch5.pickle")]
    [InlineData("batch_python2.pickle")]
    public void Pickles(string file)
    {
        PickleGlobals allowed = new PickleGlobals().AddNumpy();
        byte[] bytes = File.ReadAllBytes(Golden(file));
        for (int length = 0; length < bytes.Length; length++) Assert.NotNull(Try(bytes[..length], Read));
        TurnEveryBit(bytes, damaged => Try(damaged, Read));

        void Read(Stream stream) => PickleReader.Read(stream, allowed, "file");
    }

    private static void ReadCheckpoint(Stream stream) => CheckpointFile.Read(stream, "file");

    private static void TurnEveryBit(byte[] bytes, Func<byte[], string?> read)
    {
        int refused = 0;
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << bit % 8);
            if (read(bytes) is not null) refused++;
            bytes[bit / 8] ^= (byte)(1 << bit % 8);
        }
        Assert.Null(read(bytes));
        Assert.True(refused > bytes.Length, $"only {refused} of {bytes.Length * 8} damaged files were noticed");
    }

    /// <summary>The line that refuses the file, or null if it can be read.</summary>
    private static string? Try(byte[] bytes, Action<Stream> read)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        string? message = null;
        try
        {
            read(new MemoryStream(bytes, writable: false));
        }
        catch (EspalierException e)
        {
            message = e.Message;
        }
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < MaxAllocation, $"{allocated} bytes allocated");
        if (message is null) return null;
        Assert.StartsWith("file: ", message);
        Assert.DoesNotContain('\n', message);
        return message;
    }

    private static Dictionary<string, byte[]> Unzip(byte[] bytes)
    {
        using var zip = new ZipArchive(new MemoryStream(bytes));
        return zip.Entries.ToDictionary(e => e.FullName, e =>
        {
            using var copy = new MemoryStream();
            using Stream content = e.Open();
            content.CopyTo(copy);
            return copy.ToArray();
        });
    }

    private static byte[] Zip(Dictionary<string, byte[]> entries)
    {
        using var file = new MemoryStream();
        using (var zip = new ZipArchive(file, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach ((string name, byte[] bytes) in entries)
            {
                using Stream content = zip.CreateEntry(name, CompressionLevel.NoCompression).Open();
                content.Write(bytes);
            }
        }
        return file.ToArray();
    }
}
