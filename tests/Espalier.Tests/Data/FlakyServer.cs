using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Espalier.Tests.Data;

/// <summary>An HTTP server on loopback for one file, with the faults that real ones have. One request a connection.</summary>
internal sealed class FlakyServer : IDisposable
{
    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource stop = new();

    public FlakyServer(byte[] body)
    {
        Body = body;
        listener.Start();
        Url = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/data.bin";
        _ = Task.Run(AcceptAsync);
    }

    public string Url { get; }

    public byte[] Body { get; set; }

    /// <summary>Answers this and no file where not 200.</summary>
    public int Status { get; set; } = 200;

    /// <summary>Closes the connection after so many bytes of each answer.</summary>
    public int DropAfter { get; set; } = int.MaxValue;

    /// <summary>From this request on (0 is the first) answers 500.</summary>
    public int FailFrom { get; set; } = int.MaxValue;

    /// <summary>Ends connections as a machine does that falls over, and not in peace.</summary>
    public bool Resets { get; set; }

    public bool IgnoreRanges { get; set; }

    /// <summary>Sends no Content-Length.</summary>
    public bool HideLength { get; set; }

    /// <summary>Takes requests and never answers.</summary>
    public bool Stall { get; set; }

    /// <summary>The Range header of each request.</summary>
    public List<string?> Ranges { get; } = [];

    /// <summary>The If-Range header of each request.</summary>
    public List<string?> IfRanges { get; } = [];

    public void Dispose()
    {
        stop.Cancel();
        listener.Stop();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                using var client = await listener.AcceptTcpClientAsync(stop.Token);
                await AnswerAsync(client.GetStream());
                // What has not been read yet may be lost by a reset.
                if (Resets) await Task.Delay(100, stop.Token);
                client.Client.LingerState = new LingerOption(true, Resets ? 0 : 1);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or IOException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    private async Task AnswerAsync(NetworkStream stream)
    {
        string? range = null, ifRange = null;
        using var reader = new StreamReader(stream, Encoding.ASCII, leaveOpen: true);
        while (await reader.ReadLineAsync(stop.Token) is { Length: > 0 } line)
        {
            if (line.StartsWith("Range: ", StringComparison.OrdinalIgnoreCase)) range = line[7..];
            if (line.StartsWith("If-Range: ", StringComparison.OrdinalIgnoreCase)) ifRange = line[10..];
        }
        int request = Ranges.Count;
        Ranges.Add(range);
        IfRanges.Add(ifRange);
        if (Stall) await Task.Delay(Timeout.Infinite, stop.Token);

        int status = request >= FailFrom ? 500 : Status, from = 0;
        if (status != 200)
        {
            await WriteAsync(stream, $"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        if (range != null && !IgnoreRanges && ifRange is null or "\"v1\"")
            from = int.Parse(range?[6..].TrimEnd('-') ?? "0", CultureInfo.InvariantCulture);
        if (from >= Body.Length)
        {
            await WriteAsync(stream,
                $"HTTP/1.1 416 No\r\nContent-Range: bytes */{Body.Length}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        string head = from == 0 ? "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\n"
            : $"HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{Body.Length - 1}/{Body.Length}\r\nETag: \"v1\"\r\n";
        if (!HideLength) head += $"Content-Length: {Body.Length - from}\r\n";
        await WriteAsync(stream, head + "Connection: close\r\n\r\n");
        await stream.WriteAsync(Body.AsMemory(from, Math.Min(DropAfter, Body.Length - from)), stop.Token);
    }

    private async Task WriteAsync(NetworkStream stream, string text) =>
        await stream.WriteAsync(Encoding.ASCII.GetBytes(text), stop.Token);
}
