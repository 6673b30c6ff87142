using System.Net.Http.Headers;
using System.Text.Json;
using Espalier.Tests.Clip;

namespace Espalier.Server.Tests;

/// <summary>A service on a port of its own with the network that drops tokens, one that does not, and a small CLIP.</summary>
public sealed class Served : IAsyncLifetime
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("espalier-served-");

    public static string Agents { get; } = Repository.Model("apt-fashion-mnist");

    public static string[] Pictures { get; } = [.. new[] { "ankle-boot", "bag", "dress", "sneaker" }.Select(Repository.Picture)];

    public HttpClient Client { get; private set; } = null!;

    internal Service Service { get; private set; } = null!;

    internal string Clip => Path.Combine(folder.FullName, "clip.safetensors");

    internal string Vocabulary => Path.Combine(folder.FullName, "vocabulary.txt");

    public async Task InitializeAsync()
    {
        ClipGolden.Write(Clip, ClipGolden.Whole());
        File.WriteAllLines(Vocabulary, ClipGolden.Merges());
        string[] models = [Agents, Repository.Model("resnet20"), Clip];
        (Service, Client) = await Start(new ServerSettings { Models = models, Port = 0, Vocabulary = Vocabulary });
    }

    public async Task DisposeAsync()
    {
        Client.Dispose();
        await Service.DisposeAsync();
        folder.Delete(recursive: true);
    }

    internal static async Task<(Service, HttpClient)> Start(ServerSettings settings)
    {
        Service service = await Service.Start(settings);
        return (service, new HttpClient { BaseAddress = new Uri(service.Address), Timeout = TimeSpan.FromMinutes(1) });
    }

    internal static ByteArrayContent Bytes(byte[] body, string? type = null)
    {
        var content = new ByteArrayContent(body);
        if (type is not null) content.Headers.TryAddWithoutValidation("Content-Type", type);
        return content;
    }

    internal static ByteArrayContent FileContent(string path, string? type = "image/png") => Bytes(File.ReadAllBytes(path), type);

    /// <summary>The answer's JSON.</summary>
    internal static async Task<JsonElement> Json(HttpResponseMessage response)
    {
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonDocument.Parse(text).RootElement;
    }

    /// <summary>One line on what is wrong, as problem details.</summary>
    internal static async Task<string> Refused(HttpResponseMessage response, int status)
    {
        string text = await response.Content.ReadAsStringAsync();
        Assert.True((int)response.StatusCode == status, $"{(int)response.StatusCode} and not {status}: {text}");
        Assert.Equal(new MediaTypeHeaderValue("application/problem+json").MediaType, response.Content.Headers.ContentType?.MediaType);
        JsonElement problem = JsonDocument.Parse(text).RootElement;
        Assert.Equal(status, problem.GetProperty("status").GetInt32());
        string detail = problem.GetProperty("detail").GetString()!;
        Assert.DoesNotContain('\n', detail);
        Assert.DoesNotContain("   at ", detail);
        return detail;
    }
}
