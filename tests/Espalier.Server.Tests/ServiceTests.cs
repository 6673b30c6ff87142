using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using static Espalier.Server.Tests.Served;

namespace Espalier.Server.Tests;

public sealed partial class ServiceTests(Served served) : IClassFixture<Served>
{
    private HttpClient Client => served.Client;

    [Fact]
    public async Task TheContractHasWhatThereIs()
    {
        JsonElement paths = (await Json(await Client.GetAsync("/openapi.json"))).GetProperty("paths");
        Assert.Equal(["/", "/health", "/metrics", "/openapi.json", "/v1/embed", "/v1/models", "/v1/predict"],
            paths.EnumerateObject().Select(p => p.Name).Order());
        foreach (JsonProperty path in paths.EnumerateObject())
            foreach (JsonProperty method in path.Value.EnumerateObject())
            {
                using var request = new HttpRequestMessage(new HttpMethod(method.Name.ToUpperInvariant()), path.Name);
                using HttpResponseMessage response = await Client.SendAsync(request);
                Assert.Equal(method.Name == "post" ? HttpStatusCode.BadRequest : HttpStatusCode.OK, response.StatusCode);
            }
        JsonElement predict = paths.GetProperty("/v1/predict").GetProperty("post");
        foreach (JsonElement parameter in predict.GetProperty("parameters").EnumerateArray().Skip(1))
        {
            string name = parameter.GetProperty("name").GetString()!;
            string type = parameter.GetProperty("schema").GetProperty("type").GetString()!;
            string value = type == "boolean" ? "false" : type == "integer" ? "1" : "0.5";
            JsonElement answer = await Json(await Client.PostAsync($"/v1/predict?{name}={value}", FileContent(Repository.Picture())));
            Assert.Equal(1, answer.GetProperty("results").GetArrayLength());
        }
    }

    [Fact]
    public async Task MetricsCountAndHaveTheFormOfPrometheus()
    {
        await Json(await Client.PostAsync("/v1/predict", FileContent(Repository.Picture())));
        await Refused(await Client.PostAsync("/v1/predict", Bytes([1, 2, 3])), 400);
        await Client.GetAsync("/made/up");
        using HttpResponseMessage response = await Client.GetAsync("/metrics");
        Assert.Equal("text/plain", response.Content.Headers.ContentType?.MediaType);
        string[] lines = (await response.Content.ReadAsStringAsync()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(lines, line => Assert.Matches(Sample(), line));
        Assert.True(Value("espalier_requests_total{path=\"/v1/predict\",status=\"200\"}") >= 1);
        Assert.True(Value("espalier_requests_total{path=\"/v1/predict\",status=\"400\"}") >= 1);
        Assert.Equal(1, Value("espalier_requests_total{path=\"other\",status=\"404\"}"));
        Assert.True(Value("espalier_images_total{model=\"apt-fashion-mnist\"}") >= 1);
        Assert.Equal(0, Value("espalier_images_total{model=\"clip\"}"));
        Assert.True(Value("process_resident_memory_bytes") > 1e6);
        double all = Value("espalier_request_seconds_count{path=\"/v1/predict\"}");
        Assert.Equal(all, Value("espalier_request_seconds_bucket{path=\"/v1/predict\",le=\"+Inf\"}"));
        Assert.DoesNotContain(lines, line => line.Contains("made"));

        double Value(string series) =>
            double.Parse(lines.Single(l => l.StartsWith(series + " ", StringComparison.Ordinal)).Split(' ')[^1], CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task ThePageAsksNobodyElse()
    {
        using HttpResponseMessage response = await Client.GetAsync("/");
        string page = await response.Content.ReadAsStringAsync();
        Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal("frame-ancestors 'none'", response.Headers.GetValues("Content-Security-Policy").Single());
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Contains("default-src &#39;none&#39;", page);
        // Pictures are taken when the script knows the models that answer.
        Assert.Matches("<input id=\"files\"[^>]* disabled=\"disabled\"", page);
        Assert.DoesNotContain("unsafe", page);
        Assert.Equal(["http://www.w3.org/2000/svg"], Address().Matches(page).Select(m => m.Value).Distinct());
        Assert.DoesNotContain("Server", response.Headers.Select(h => h.Key));
    }

    /// <summary>Bodies of unknown length take the room of the longest: of two at once the second has none.</summary>
    [Fact]
    public async Task WhatThereIsNoRoomForIsAskedToComeAgain()
    {
        var settings = new ServerSettings { Models = [Agents], Port = 0, MostBodyBytes = 200 << 20 };
        (Service service, HttpClient client) = await Start(settings);
        await using (service)
        using (client)
        {
            using var slow = new SlowBody(File.ReadAllBytes(Repository.Picture()));
            Task<HttpResponseMessage> first = client.PostAsync("/v1/predict", slow);
            await Until(client, "espalier_body_bytes 2");
            var chunked = new HttpRequestMessage(HttpMethod.Post, "/v1/predict") { Content = FileContent(Repository.Picture()) };
            chunked.Headers.TransferEncodingChunked = true;
            HttpResponseMessage second = await client.SendAsync(chunked);
            await Refused(second, 429);
            Assert.Equal("1", second.Headers.GetValues("Retry-After").Single());
            slow.Go();
            await Json(await first);
        }
    }

    [Fact]
    public async Task WhatTakesTooLongEnds()
    {
        (Service service, HttpClient client) = await Start(new ServerSettings { Models = [Agents], Port = 0, Seconds = 0.2 });
        await using (service)
        using (client)
        {
            using var slow = new SlowBody(File.ReadAllBytes(Repository.Picture()));
            Task<HttpResponseMessage> asked = client.PostAsync("/v1/predict", slow);
            // The client looks at the answer when its request is out.
            await Until(client, "espalier_requests_total{path=\"/v1/predict\",status=\"503\"} 1");
            slow.Go();
            Assert.Contains("no answer within 0.2 seconds", await Refused(await asked, 503));
        }
    }

    [Fact]
    public async Task AStopAnswersWhatWasBegun()
    {
        (Service service, HttpClient client) = await Start(new ServerSettings { Models = [Agents], Port = 0 });
        using (client)
        {
            using var slow = new SlowBody(File.ReadAllBytes(Repository.Picture()));
            Task<HttpResponseMessage> begun = client.PostAsync("/v1/predict", slow);
            await Until(client, "espalier_body_bytes 1");
            Task ended = service.Ended();
            service.Stop();
            slow.Go();
            await Json(await begun);
            await ended;
            await service.DisposeAsync();
            await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync("/health"));
        }
    }

    /// <summary>Waits until the service counts so.</summary>
    private static async Task Until(HttpClient client, string series)
    {
        for (int i = 0; i < 500; i++)
        {
            if ((await client.GetStringAsync("/metrics")).Contains('\n' + series, StringComparison.Ordinal)) return;
            await Task.Delay(20);
        }
        Assert.Fail("the service never said " + series);
    }

    /// <summary>A body whose second half waits.</summary>
    private sealed class SlowBody(byte[] bytes) : HttpContent
    {
        private readonly TaskCompletionSource go = new();

        public void Go() => go.TrySetResult();

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await stream.WriteAsync(bytes.AsMemory(0, bytes.Length / 2));
            await stream.FlushAsync();
            await go.Task;
            await stream.WriteAsync(bytes.AsMemory(bytes.Length / 2));
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    [GeneratedRegex("""^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.eE]+)$""")]
    private static partial Regex Sample();

    [GeneratedRegex("""https?://[^"'\s]*""")]
    private static partial Regex Address();
}
