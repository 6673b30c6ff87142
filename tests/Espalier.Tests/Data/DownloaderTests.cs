using System.Security.Cryptography;
using Espalier.Data;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Data;

public sealed class DownloaderTests : IDisposable
{
    private static readonly byte[] Content = [.. Enumerable.Range(0, 300_000).Select(i => (byte)(i * i >> 7))];

    private readonly TempFolder folder = new();
    private readonly FlakyServer server = new(Content);
    private readonly Downloader downloader = new()
    {
        RetryDelay = TimeSpan.FromMilliseconds(1),
        StallTimeout = TimeSpan.FromSeconds(20),
        Attempts = 3,
    };

    private string Target => Path.Combine(folder.Path, "data.bin");

    private RemoteFile Remote =>
        new("data.bin", [server.Url], "sha256:" + Convert.ToHexStringLower(SHA256.HashData(Content)), 1 << 20);

    public void Dispose()
    {
        downloader.Dispose();
        server.Dispose();
        folder.Dispose();
    }

    [Fact]
    public async Task AWholeFileArrivesWithProgressAndNothingElse()
    {
        var progress = new Reports();
        Assert.Equal(Target, await downloader.FetchAsync(Remote, folder.Path, progress));
        Assert.Equal(Content, File.ReadAllBytes(Target));
        Assert.Equal([Target], Directory.GetFiles(folder.Path));
        Assert.Equal(new DownloadProgress("data.bin", Content.Length, Content.Length), progress.Last);

        await downloader.FetchAsync(Remote, folder.Path);       // the second time from disk
        Assert.Single(server.Ranges);
    }

    [Fact]
    public async Task Md5IsCheckedWhereThatIsAllThereIs()
    {
        await downloader.FetchAsync(Remote with { Checksum = "md5:" + Convert.ToHexString(MD5.HashData(Content)) }, folder.Path);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ADroppedConnectionIsContinuedWhereItStopped(bool resets)
    {
        server.DropAfter = 100_000;
        server.Resets = resets;
        await downloader.FetchAsync(Remote, folder.Path);
        Assert.Equal(Content, File.ReadAllBytes(Target));
        Assert.Equal(3, server.Ranges.Count);
        Assert.Null(server.Ranges[0]);
        Assert.All(server.Ranges[1..], r => Assert.StartsWith("bytes=", r));
        Assert.All(server.IfRanges[1..], t => Assert.Equal("\"v1\"", t));
        Assert.Equal([Target], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public async Task AnotherProcessGoesOnFromThePart()
    {
        server.DropAfter = 100_000;
        server.FailFrom = 1;
        await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(Remote, folder.Path));
        long kept = new FileInfo(Target + ".part").Length;
        Assert.InRange(kept, 1, 100_000);

        (server.DropAfter, server.FailFrom) = (int.MaxValue, int.MaxValue);
        using var later = new Downloader();
        await later.FetchAsync(Remote, folder.Path);
        Assert.Equal($"bytes={kept}-", server.Ranges[^1]);
        Assert.Equal("\"v1\"", server.IfRanges[^1]);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Fact]
    public async Task AServerThatIgnoresRangesIsReadFromTheStart()
    {
        File.WriteAllBytes(Target + ".part", Content[..50_000]);
        server.IgnoreRanges = true;
        await downloader.FetchAsync(Remote, folder.Path);
        Assert.Equal("bytes=50000-", server.Ranges[0]);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Fact]
    public async Task APartOfAnotherVersionIsFetchedAgain()
    {
        File.WriteAllBytes(Target + ".part", new byte[50_000]);     // no ETag beside it: only the checksum tells
        await downloader.FetchAsync(Remote, folder.Path);
        Assert.Equal(["bytes=50000-", null], server.Ranges);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Fact]
    public async Task APartOfAnotherTagIsNotContinued()
    {
        File.WriteAllBytes(Target + ".part", Content[..50_000]);
        File.WriteAllText(Target + ".part.etag", "\"v0\"");
        await downloader.FetchAsync(Remote, folder.Path);
        Assert.Equal("\"v0\"", server.IfRanges[0]);
        Assert.Single(server.Ranges);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Fact]
    public async Task ACompletePartIsRecognised()
    {
        File.WriteAllBytes(Target + ".part", Content);
        await downloader.FetchAsync(Remote, folder.Path);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Fact]
    public async Task WrongBytesAreRefusedAndNotKept()
    {
        server.Body = [.. Content.Reverse()];
        var e = await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(Remote, folder.Path));
        Assert.Contains("checksum", e.Message);
        Assert.False(File.Exists(Target));
        Assert.Equal(0, new FileInfo(Target + ".part").Length);
    }

    [Fact]
    public async Task NotFoundIsNotTriedAgainButTheNextAddressIs()
    {
        server.Status = 404;
        var e = await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(Remote, folder.Path));
        Assert.Contains("404", e.Message);
        Assert.Single(server.Ranges);

        using var other = new FlakyServer(Content);
        await downloader.FetchAsync(Remote with { Urls = [server.Url, other.Url] }, folder.Path);
        Assert.Equal(Content, File.ReadAllBytes(Target));
    }

    [Fact]
    public async Task ABusyServerIsTriedAFewTimes()
    {
        server.Status = 503;
        var e = await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(Remote, folder.Path));
        Assert.Contains("503", e.Message);
        Assert.Equal(3, server.Ranges.Count);
    }

    [Fact]
    public async Task TooManyBytesAreRefused()
    {
        var small = Remote with { MaxBytes = 1000 };
        foreach (bool hidden in new[] { false, true })
        {
            server.HideLength = hidden;
            var e = await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(small, folder.Path));
            Assert.Contains("1000", e.Message);
        }
        Assert.Equal(0, new FileInfo(Target + ".part").Length);
    }

    [Fact]
    public async Task ASilentServerIsGivenUp()
    {
        server.Stall = true;
        using var impatient = new Downloader { StallTimeout = TimeSpan.FromMilliseconds(100), Attempts = 1 };
        var e = await Assert.ThrowsAsync<EspalierException>(() => impatient.FetchAsync(Remote, folder.Path));
        Assert.Contains("no answer", e.Message);
    }

    [Fact]
    public async Task CancellationIsNotAnError()
    {
        server.Stall = true;
        using var cancel = new CancellationTokenSource(50);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => downloader.FetchAsync(Remote, folder.Path, cancel: cancel.Token));
    }

    [Fact]
    public async Task AFileOfTheUsersIsNotOverwritten()
    {
        File.WriteAllText(Target, "mine");
        Assert.Contains("move it away",
            (await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(Remote, folder.Path))).Message);
        Assert.Equal("mine", File.ReadAllText(Target));
    }

    [Fact]
    public async Task NoServerIsOneClearError()
    {
        server.Dispose();
        var e = await Assert.ThrowsAsync<EspalierException>(() => downloader.FetchAsync(Remote, folder.Path));
        Assert.Contains("check the network", e.Message);
        Assert.DoesNotContain('\n', e.Message);
    }

    private sealed class Reports : IProgress<DownloadProgress>
    {
        public DownloadProgress Last { get; private set; }

        public void Report(DownloadProgress value) => Last = value;
    }
}
