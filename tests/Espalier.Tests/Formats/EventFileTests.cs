using Espalier.Formats;
using static Espalier.Tests.Formats.FormatFiles;

namespace Espalier.Tests.Formats;

public sealed class EventFileTests
{
    /// <summary>RFC 3720, appendix B.4: 32 zeros, 32 ones, and 0 to 31; then the mask of TensorFlow's record format.</summary>
    [Theory]
    [InlineData(0x8A9136AAu, 0)]
    [InlineData(0x62A8AB43u, 1)]
    [InlineData(0x46DD794Eu, 2)]
    public void ChecksumsAreCrc32C(uint crc, int pattern)
    {
        byte[] bytes = [.. Enumerable.Range(0, 32).Select(i => pattern switch { 0 => (byte)0, 1 => (byte)255, _ => (byte)i })];
        Assert.Equal(((crc >> 15) | (crc << 17)) + 0xa282ead8u, RecordFraming.MaskedCrc(bytes));
    }

    [Fact]
    public void ReadsWhatItWrites()
    {
        using var folder = new TemporaryFolder();
        string path;
        using (var writer = new EventWriter(folder["runs"]))
        {
            path = writer.Path;
            writer.AddScalar("loss/train", 0.5f, 0, 1000.25);
            writer.AddScalar("loss/train", float.NaN, 7);
            writer.AddScalar("größe", -1e30f, long.MaxValue, 1e9);
            writer.Flush();
            Assert.Equal(3, EventReader.Read(path).Scalars.Count);    // while the run goes on
        }
        Assert.Matches(@"^events\.out\.tfevents\.\d{10}\..+", Path.GetFileName(path));
        EventFile read = EventReader.Read(path);
        Assert.False(read.Truncated);
        Assert.Equal(new ScalarEvent("loss/train", 0.5f, 0, 1000.25), read.Scalars[0]);
        Assert.True(float.IsNaN(read.Scalars[1].Value));
        Assert.InRange(read.Scalars[1].WallTime, 1.6e9, 1e10);
        Assert.Equal(new ScalarEvent("größe", -1e30f, long.MaxValue, 1e9), read.Scalars[2]);
    }

    [Fact]
    public void TwoWritersInOneSecondHaveTwoFiles()
    {
        using var folder = new TemporaryFolder();
        using var a = new EventWriter(folder.FullName);
        using var b = new EventWriter(folder.FullName);
        Assert.NotEqual(a.Path, b.Path);
    }

    /// <summary>The golden was encoded by tests/goldens/events.py, which shares no code with the writer.</summary>
    [Fact]
    public void ReadsAFileOfAnotherWriter()
    {
        EventFile read = EventReader.Read(Golden("events.out.tfevents.1700000000.host"));
        ScalarEvent[] expected =
            [new("loss", 1.5f, 1, 1700000000.5), new("loss", -0.25f, 2, 1700000001.5), new("lr", 1e-3f, 2, 1700000001.5)];
        Assert.Equal(expected, read.Scalars);
    }

    [Fact]
    public void WritesTheSameBytesAsAnotherWriter()
    {
        using var folder = new TemporaryFolder();
        string path;
        using (var writer = new EventWriter(folder.FullName))
        {
            path = writer.Path;
            writer.AddScalar("loss", 1.5f, 1, 1700000000.5);
        }
        byte[] written = File.ReadAllBytes(path), golden = File.ReadAllBytes(Golden("events.out.tfevents.1700000000.host"));
        // The first record has the time of writing: framing 16, wall time 9, step 2, version 2 + 13 bytes.
        const int first = 16 + 9 + 2 + 15;
        Assert.Equal(golden[first..written.Length], written[first..]);
        Assert.Equal(golden[21..(first - 4)], written[21..(first - 4)]);
    }

    [Fact]
    public void ATornLastRecordIsLeftOut()
    {
        byte[] bytes = File.ReadAllBytes(Golden("events.out.tfevents.1700000000.host"));
        int previous = 0;
        for (int length = 0; length < bytes.Length; length++)
        {
            EventFile read = EventReader.Read(new MemoryStream(bytes[..length]), "file");
            Assert.InRange(read.Scalars.Count, previous, 2);
            previous = read.Scalars.Count;
        }
        Assert.Equal(1, previous);    // the last record holds two scalars
    }

    [Fact]
    public void EveryTurnedBitIsNoticed()
    {
        byte[] bytes = File.ReadAllBytes(Golden("events.out.tfevents.1700000000.host"));
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << bit % 8);
            Assert.Throws<EspalierException>(() => EventReader.Read(new MemoryStream(bytes), "file"));
            bytes[bit / 8] ^= (byte)(1 << bit % 8);
        }
    }

    /// <summary>Right checksums around anything: a hostile writer can compute them too.</summary>
    [Fact]
    public void RecordsThatAreNoEventsAreRefusedOrSkipped()
    {
        byte[] record = File.ReadAllBytes(Golden("events.out.tfevents.1700000000.host"))[(16 + 26 + 12)..^4];
        for (int bit = 0; bit < record.Length * 8; bit++)
        {
            record[bit / 8] ^= (byte)(1 << bit % 8);
            var file = new MemoryStream();
            RecordFraming.Write(file, record);
            file.Position = 0;
            try
            {
                Assert.False(EventReader.Read(file, "file").Truncated);
            }
            catch (EspalierException e)
            {
                Assert.Contains("not an event", e.Message);
            }
            record[bit / 8] ^= (byte)(1 << bit % 8);
        }
    }
}
