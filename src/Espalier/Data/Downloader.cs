using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;

namespace Espalier.Data;

/// <summary>A file that can be fetched.</summary>
/// <param name="Name">Its name in the target folder.</param>
/// <param name="Urls">Where it is; the next is tried where one fails for good.</param>
/// <param name="Checksum">"sha256:" or "md5:" and the hexadecimal digest of the whole file.</param>
/// <param name="MaxBytes">More than this is refused.</param>
public sealed record RemoteFile(string Name, IReadOnlyList<string> Urls, string Checksum, long MaxBytes);

/// <summary>How far a download is.</summary>
/// <param name="Received">Bytes on disk, those of an earlier, interrupted attempt too.</param>
/// <param name="Total">Null where the server does not tell.</param>
public readonly record struct DownloadProgress(string File, long Received, long? Total);

/// <summary>
/// Fetches files over HTTP(S) into FILE.part, continues an interrupted one where the server allows it (RFC 9110 section 14,
/// with If-Range where it gave a strong ETag), checks the digest and only then gives the file its name.
/// </summary>
public sealed class Downloader : IDisposable
{
    private readonly HttpClient client;

    /// <summary>Fetches something and waits for it, on another thread than a program's own, which may be the one that answers are handed
    /// to.</summary>
    internal static T Wait<T>(Func<Task<T>> fetch) => Task.Run(fetch).GetAwaiter().GetResult();

    public Downloader(HttpMessageHandler? handler = null)
    {
        // The limits below are for one wait; a whole file may take as long as it needs.
        client = new HttpClient(handler ?? new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(15) })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
        client.DefaultRequestHeaders.UserAgent.ParseAdd("espalier");
    }

    /// <summary>Failures in a row, each without a new byte, after which an address is given up.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>Longest wait for an answer, or for the next bytes of it.</summary>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Pause before the second attempt; doubles with each.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The file's path, after fetching it where it is not there yet.</summary>
    /// <exception cref="EspalierException">It could not be had; the part that arrived is kept for the next call.</exception>
    public async Task<string> FetchAsync(RemoteFile file, string directory, IProgress<DownloadProgress>? progress = null,
        CancellationToken cancel = default)
    {
        string path = Path.Combine(directory, file.Name);
        try
        {
            Directory.CreateDirectory(directory);
            if (File.Exists(path))
            {
                using var present = File.OpenRead(path);
                if (await DigestMatchesAsync(present, file, cancel)) return path;
                throw new EspalierException(
                    $"{path}: not the published file (its checksum differs); move it away and fetch again.");
            }
            using (var part = new PartFile(path + ".part"))
            {
                await FetchFromAnyAsync(file, part, progress, cancel);
                part.Stream.Flush(flushToDisk: true);
            }
            PartFile.Finish(path + ".part", path);
            return path;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: cannot write the download: {e.Message}", e);
        }
    }

    public void Dispose() => client.Dispose();

    private async Task FetchFromAnyAsync(RemoteFile file, PartFile part, IProgress<DownloadProgress>? progress,
        CancellationToken cancel)
    {
        for (int i = 0; ; i++)
        {
            try
            {
                await FetchVerifiedAsync(file, file.Urls[i], part, progress, cancel);
                return;
            }
            catch (EspalierException) when (i + 1 < file.Urls.Count)
            {
                // The next address may have it; the last one's failure is what the user sees.
            }
        }
    }

    private async Task FetchVerifiedAsync(RemoteFile file, string url, PartFile part, IProgress<DownloadProgress>? progress,
        CancellationToken cancel)
    {
        // A continued file can be made of two versions: it gets one more chance, from its start.
        for (bool continued = part.Length > 0; ; continued = false)
        {
            await FetchBytesAsync(file, url, part, progress, cancel);
            part.Stream.Position = 0;
            if (await DigestMatchesAsync(part.Stream, file, cancel)) return;
            part.Restart(null);
            if (!continued)
                throw new EspalierException($"{url}: the server sent something else than {file.Name} (its checksum differs); "
                    + "try again later or from another network.");
        }
    }

    /// <summary>Goes on until the server has nothing more to send.</summary>
    private async Task FetchBytesAsync(RemoteFile file, string url, PartFile part, IProgress<DownloadProgress>? progress,
        CancellationToken cancel)
    {
        for (int failures = 0; ;)
        {
            long before = part.Length;
            string reason;
            try
            {
                if (await TryFetchAsync(file, url, part, progress, cancel) is not { } refusal) return;
                reason = refusal;
            }
            catch (Exception e) when (e is HttpRequestException or HttpIOException)
            {
                reason = e.Message;
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                reason = $"no answer for {StallTimeout.TotalSeconds:0} s";
            }
            failures = part.Length > before ? 1 : failures + 1;
            if (failures >= Attempts)
                throw new EspalierException($"{url}: cannot download: {reason}; check the network and run it again, "
                    + "it goes on where it stopped.");
            await Task.Delay(RetryDelay * Math.Pow(2, failures - 1), cancel);
        }
    }

    /// <summary>One request. Null where the file is complete, else why to try again.</summary>
    private async Task<string?> TryFetchAsync(RemoteFile file, string url, PartFile part, IProgress<DownloadProgress>? progress,
        CancellationToken cancel)
    {
        using var stall = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        stall.CancelAfter(StallTimeout);
        using var request = new HttpRequestMessage(HttpMethod.Get, url);
        if (part.Length > 0)
        {
            request.Headers.Range = new RangeHeaderValue(part.Length, null);
            if (part.Tag is { } tag) request.Headers.IfRange = new RangeConditionHeaderValue(new EntityTagHeaderValue(tag));
        }
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, stall.Token);

        switch (response.StatusCode)
        {
            case HttpStatusCode.PartialContent when response.Content.Headers.ContentRange?.From == part.Length:
                break;
            case HttpStatusCode.OK:
                part.Restart(response.Headers.ETag is { IsWeak: false } strong ? strong.Tag : null);
                break;
            case HttpStatusCode.RequestedRangeNotSatisfiable when part.Length > 0
                    && response.Content.Headers.ContentRange?.Length == part.Length:
                return null;                                    // everything is here already
            case HttpStatusCode.PartialContent or HttpStatusCode.RequestedRangeNotSatisfiable:
                part.Restart(null);
                return "the server sent another part of the file than asked for";
            case HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or >= HttpStatusCode.InternalServerError:
                return $"the server answered {(int)response.StatusCode}";
            default:
                throw new EspalierException($"{url}: the server answered {(int)response.StatusCode} "
                    + $"({response.ReasonPhrase}); get {file.Name} another way and put it in the folder.");
        }

        long? total = response.Content.Headers.ContentLength + part.Length;
        if (total > file.MaxBytes) throw TooLarge(file, url);
        await using var body = await response.Content.ReadAsStreamAsync(stall.Token);
        byte[] buffer = new byte[1 << 16];
        progress?.Report(new DownloadProgress(file.Name, part.Length, total));
        while (true)
        {
            stall.CancelAfter(StallTimeout);
            int count = await ReadAsync(body, buffer, stall.Token);
            if (count == 0) return null;
            if (part.Length + count > file.MaxBytes)
            {
                part.Restart(null);
                throw TooLarge(file, url);
            }
            part.Append(buffer.AsSpan(0, count));
            progress?.Report(new DownloadProgress(file.Name, part.Length, total));
        }
    }

    /// <summary>A connection that breaks is the network's fault, and not, as other such exceptions here, the disk's.</summary>
    private static async ValueTask<int> ReadAsync(Stream body, byte[] buffer, CancellationToken cancel)
    {
        try
        {
            return await body.ReadAsync(buffer, cancel);
        }
        catch (IOException e) when (e is not HttpIOException)
        {
            throw new HttpRequestException(e.Message, e);
        }
    }

    private static EspalierException TooLarge(RemoteFile file, string url) =>
        new($"{url}: the server sends more than {file.Name} can be ({file.MaxBytes} bytes); try again later.");

    private static async Task<bool> DigestMatchesAsync(Stream stream, RemoteFile file, CancellationToken cancel)
    {
        string[] parts = file.Checksum.Split(':');
        byte[] digest = parts[0] switch
        {
            "sha256" => await SHA256.HashDataAsync(stream, cancel),
            // Only where a publisher gives nothing better: it finds damage, not malice.
            "md5" => await MD5.HashDataAsync(stream, cancel),
            _ => throw new ArgumentException($"{file.Checksum}: a checksum starts with sha256: or md5:", nameof(file)),
        };
        return Convert.ToHexStringLower(digest) == parts[1].ToLowerInvariant();
    }
}
