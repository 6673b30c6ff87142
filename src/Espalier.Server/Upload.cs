using System.Text.Json;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;

namespace Espalier.Server;

/// <summary>
/// Reads bodies into memory: an image, or the parts of a form. What parts call themselves is not looked at: there is no use for
/// names of files here. Bytes of all requests that are in work have one limit, so that many at once are refused instead of
/// filling the memory.
/// </summary>
internal sealed class Upload(ServerSettings settings)
{
    private const int MostImages = 64, LongestBoundary = 70;

    /// <summary>Characters of a text. CLIP reads some 77 tokens; splitting much longer words takes long.</summary>
    private const int LongestText = 4096;

    /// <summary>
    /// The engine's own limit of a body is this many times ours. Past its limit the engine closes the connection, and a client that
    /// still sends sees a broken pipe instead of the answer. Past ours the answer is sent, and the rest of the body is read and
    /// forgotten, for five seconds at most.
    /// </summary>
    public const long ReadAndForgotten = 4;

    private readonly long mostBytes = Math.Max(256L << 20, settings.MostBodyBytes);
    private long bytes;

    /// <summary>Of the requests in work.</summary>
    public long Bytes => Interlocked.Read(ref bytes);

    /// <summary>Runs what needs a request's body, where there is room for that.</summary>
    /// <exception cref="Refusal">There is none now, or the body is too long.</exception>
    public async Task<T> Held<T>(HttpRequest request, Func<Task<T>> work)
    {
        if (request.ContentLength > settings.MostBodyBytes) throw TooLong();
        long size = request.ContentLength ?? settings.MostBodyBytes;
        try
        {
            if (Interlocked.Add(ref bytes, size) > mostBytes) throw Refusal.Busy();
            return await work();
        }
        finally
        {
            Interlocked.Add(ref bytes, -size);
        }
    }

    /// <summary>The images' files as they came.</summary>
    /// <exception cref="Refusal">The body is of another kind, or damaged.</exception>
    public async Task<List<byte[]>> Images(HttpRequest request, CancellationToken cancel)
    {
        MediaTypeHeaderValue.TryParse(request.ContentType, out MediaTypeHeaderValue? type);
        if (type?.MediaType.Equals("multipart/form-data", StringComparison.OrdinalIgnoreCase) == true)
            return await Parts(request, HeaderUtilities.RemoveQuotes(type.Boundary).Value ?? "", cancel);
        bool bare = string.IsNullOrEmpty(request.ContentType) || type?.MediaType == "application/octet-stream"
            || type?.Type == "image";
        if (!bare)
            throw new Refusal(StatusCodes.Status415UnsupportedMediaType,
                "send an image's bytes as image/*, as application/octet-stream, or as parts of multipart/form-data");
        return [await All(request.Body, settings.MostBodyBytes, cancel)];
    }

    /// <summary>The texts of a JSON body.</summary>
    /// <exception cref="Refusal">It is none.</exception>
    public async Task<IReadOnlyList<string>> Texts(HttpRequest request, CancellationToken cancel)
    {
        byte[] body = await All(request.Body, settings.MostBodyBytes, cancel);
        try
        {
            EmbedRequest? asked = JsonSerializer.Deserialize(body, AnswerJson.Default.EmbedRequest);
            if (asked?.Texts is { Count: > 0 and <= MostImages } texts
                && texts.All(t => t is { Length: <= LongestText })) return texts;
        }
        catch (JsonException)
        {
            // Said below, as what is no list of texts.
        }
        throw Damaged($$"""the body is not {"texts":["..."]} with 1 to {{MostImages}} texts of at most {{LongestText}} characters""");
    }

    private async Task<List<byte[]>> Parts(HttpRequest request, string boundary, CancellationToken cancel)
    {
        if (boundary.Length is 0 or > LongestBoundary) throw Damaged("the form has no boundary, or one that is too long");
        var images = new List<byte[]>();
        try
        {
            var reader = new MultipartReader(boundary, request.Body);
            while (await reader.ReadNextSectionAsync(cancel) is { } part)
            {
                if (images.Count == MostImages) throw Damaged($"the form has more than {MostImages} images; send them apart");
                images.Add(await All(part.Body, settings.MostBodyBytes - images.Sum(i => (long)i.Length), cancel));
            }
        }
        catch (Exception e) when (e is InvalidDataException || (e is IOException and not BadHttpRequestException))
        {
            throw Damaged("the form is damaged or cut off");
        }
        return images.Count > 0 ? images : throw Damaged("the form has no image");
    }

    private async Task<byte[]> All(Stream body, long most, CancellationToken cancel)
    {
        using var all = new MemoryStream();
        var piece = new byte[16 << 10];
        for (int read; (read = await body.ReadAsync(piece, cancel)) > 0;)
        {
            if (all.Length + read > most) throw TooLong();
            all.Write(piece, 0, read);
        }
        return all.ToArray();
    }

    private Refusal TooLong() => new(StatusCodes.Status413PayloadTooLarge,
        $"the body is longer than {settings.MostBodyBytes / 1024.0 / 1024:0.##} MB; scale the image down");

    private static Refusal Damaged(string line) => new(StatusCodes.Status400BadRequest, line);
}
