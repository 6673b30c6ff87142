using Espalier.Formats;

namespace Espalier.Tests.Formats;

public sealed class AtomicFileTests
{
    [Fact]
    public void ReplacesTheFile()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["x"], "old and longer");
        AtomicFile.Write(folder["x"], stream => stream.Write("new"u8));
        Assert.Equal("new", File.ReadAllText(folder["x"]));
        Assert.Equal(["x"], folder.Names);
    }

    /// <summary>A process that was killed while it wrote leaves its part; one of today may still be at it.</summary>
    [Fact]
    public void PartsThatNobodyWritesAnyMoreGo()
    {
        using var folder = new TemporaryFolder();
        string[] parts = [.. new[] { "x", "x", "y" }.Select(n => $".{n}.{Guid.NewGuid():N}.tmp"), ".x.mine.tmp"];
        foreach (string part in parts)
        {
            File.WriteAllText(folder[part], "half");
            File.SetLastWriteTimeUtc(folder[part], DateTime.UtcNow.AddDays(-2));
        }
        File.SetLastWriteTimeUtc(folder[parts[1]], DateTime.UtcNow);
        AtomicFile.Write(folder["x"], stream => stream.Write("new"u8));
        Assert.Equal([.. parts[1..].Append("x").Order(StringComparer.Ordinal)], folder.Names.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void TheOldFileIsThereUntilTheNewOneIsComplete()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["x"], "old");
        AtomicFile.Write(folder["x"], stream =>
        {
            stream.Write("new"u8);
            stream.Flush();
            Assert.Equal("old", File.ReadAllText(folder["x"]));
        });
    }

    [Fact]
    public void AFailureOfTheDiskIsOneLineAndLeavesTheOldFile()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["x"], "old");
        string message = Assert.Throws<EspalierException>(() => AtomicFile.Write(folder["x"], stream =>
        {
            stream.Write("half"u8);
            throw new IOException("No space left\non device");
        })).Message;
        Assert.StartsWith(folder["x"] + ": could not be written (No space left on device)", message);
        Assert.Equal("old", File.ReadAllText(folder["x"]));
        Assert.Equal(["x"], folder.Names);
    }

    /// <summary>What the kernel itself says when the disk is full.</summary>
    [Fact]
    public void AFullDeviceIsReported()
    {
        if (!File.Exists("/dev/full")) return;
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["x"], "old");
        Assert.Throws<EspalierException>(() => AtomicFile.Write(folder["x"], _ =>
        {
            using var full = new FileStream("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 0);
            full.Write(new byte[100]);
        }));
        Assert.Equal("old", File.ReadAllText(folder["x"]));
        Assert.Equal(["x"], folder.Names);
    }

    [Fact]
    public void OtherExceptionsPassThroughAndLeaveTheOldFile()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["x"], "old");
        Assert.Throws<OperationCanceledException>(() =>
            AtomicFile.Write(folder["x"], _ => throw new OperationCanceledException()));
        Assert.Equal("old", File.ReadAllText(folder["x"]));
        Assert.Equal(["x"], folder.Names);
    }

    [Fact]
    public void NeverRenamesOverADevice()
    {
        if (!OperatingSystem.IsLinux()) return;
        using var folder = new TemporaryFolder();
        File.CreateSymbolicLink(folder["null"], "/dev/null");
        Assert.Contains("device", Assert.Throws<EspalierException>(() => AtomicFile.Write(folder["null"], _ => { })).Message);
    }

    [Fact]
    public void ALinkStaysALink()
    {
        if (OperatingSystem.IsWindows()) return;
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["target"], "old");
        const UnixFileMode mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead;
        File.SetUnixFileMode(folder["target"], mode);
        File.CreateSymbolicLink(folder["link"], "target");
        AtomicFile.Write(folder["link"], stream => stream.Write("new"u8));
        Assert.Equal("new", File.ReadAllText(folder["target"]));
        Assert.NotNull(new FileInfo(folder["link"]).LinkTarget);
        Assert.Equal(mode, File.GetUnixFileMode(folder["target"]));
    }

    [Fact]
    public void AMissingFolderIsAnErrorOfOneLine()
    {
        using var folder = new TemporaryFolder();
        Assert.Throws<EspalierException>(() => AtomicFile.Write(Path.Combine(folder["none"], "x"), _ => { }));
    }
}
