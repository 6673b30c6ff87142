using System.Net;
using System.Text;
using System.Text.Json;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Onnx;
using Espalier.Tests.Clip;
using static Espalier.Server.Tests.Served;

namespace Espalier.Server.Tests;

/// <summary>What is wrong gets one line, and the service goes on.</summary>
public sealed class RefusalTests(Served served) : IClassFixture<Served>
{
    private const string Form = "multipart/form-data; boundary=xyz";

    private HttpClient Client => served.Client;

    [Theory]
    [InlineData("", null, "", 400, "image 1: the image file is empty")]
    [InlineData("", "image/png", "hello", 400, "image 1: not a PNG")]
    [InlineData("", "image/jpeg", "<html>", 400, "a web page and not an image")]
    [InlineData("", "text/plain", "hello", 415, "multipart/form-data")]
    [InlineData("", "application/x-www-form-urlencoded", "a=b", 415, "multipart/form-data")]
    [InlineData("", "multipart/form-data", "hello", 400, "no boundary")]
    [InlineData("", Form, "hello", 400, "damaged or cut off")]
    [InlineData("", Form, "--xyz\r\n\r\nhello", 400, "damaged or cut off")]
    [InlineData("", Form, "--xyz--\r\n", 400, "no image")]
    [InlineData("", Form, "--xyz\r\nContent-Disposition: form-data; name=a; filename=\"/etc/passwd\"\r\n\r\nhello\r\n--xyz--\r\n", 400, "image 1: not a PNG")]
    [InlineData("?treshold=0.3", null, "x", 400, "do you mean 'threshold'?")]
    [InlineData("?threshold=2", null, "x", 400, "threshold is a number from 0 to 1")]
    [InlineData("?threshold=NaN", null, "x", 400, "threshold is a number from 0 to 1")]
    [InlineData("?threshold=0,5", null, "x", 400, "threshold is a number from 0 to 1")]
    [InlineData("?keep=0", null, "x", 400, "above 0")]
    [InlineData("?keep=0.5&threshold=0.5", null, "x", 400, "give one of them")]
    [InlineData("?top=1&top=2", null, "x", 400, "given 2 times")]
    [InlineData("?top=0", null, "x", 400, "from 1 to 1000")]
    [InlineData("?prune=no", null, "x", 400, "true or false")]
    [InlineData("?model=nobody", null, "x", 404, "there are apt-fashion-mnist, resnet20, clip")]
    public async Task AWrongPrediction(string query, string? type, string body, int status, string line)
    {
        using HttpResponseMessage response = await Client.PostAsync("/v1/predict" + query, Bytes(Encoding.UTF8.GetBytes(body), type));
        string detail = await Refused(response, status);
        Assert.Contains(line, detail);
        Assert.Equal("ok", (await Json(await Client.GetAsync("/health"))).GetProperty("status").GetString());
    }

    /// <summary>What belongs to classes has no meaning for features.</summary>
    [Theory]
    [InlineData("keep=0.5", 400, "there is no parameter 'keep'; there are model, truncate")]
    [InlineData("threshold=0.5", 400, "no parameter 'threshold'")]
    [InlineData("prune=false", 400, "no parameter 'prune'")]
    [InlineData("top=1", 400, "no parameter 'top'")]
    [InlineData("truncat=true", 400, "do you mean 'truncate'?")]
    [InlineData("truncate=yes", 400, "truncate is true or false")]
    [InlineData("truncate=true&truncate=true", 400, "given 2 times")]
    [InlineData("model=nobody", 404, "there are apt-fashion-mnist, resnet20, clip")]
    public async Task AWrongQuestionForFeatures(string query, int status, string line)
    {
        string model = query.StartsWith("model", StringComparison.Ordinal) ? "" : "model=clip&";
        Assert.Contains(line, await Refused(await Client.PostAsync($"/v1/embed?{model}{query}", FileContent(Repository.Picture())), status));
    }

    [Fact]
    public async Task WhatAModelIsNotForIsSaid()
    {
        byte[] picture = File.ReadAllBytes(Repository.Picture());
        Assert.Contains("no agents", await Refused(await Client.PostAsync("/v1/predict?model=resnet20&threshold=0.5", Bytes(picture)), 400));
        Assert.Contains("ask /v1/embed", await Refused(await Client.PostAsync("/v1/predict?model=clip", Bytes(picture)), 404));
        Assert.Contains("ask /v1/predict", await Refused(await Client.PostAsync("/v1/embed", Bytes(picture)), 404));
        byte[] text = """{"texts":["a"]}"""u8.ToArray();
        Assert.Contains("knows no texts", await Refused(await Client.PostAsync("/v1/embed", Bytes(text, "application/json")), 404));
        foreach (string wrong in new[] { "", "[]", """{"texts":[]}""", """{"texts":[null]}""", """{"text":"a"}""" })
            Assert.Contains("the body is not", await Refused(await Client.PostAsync("/v1/embed?model=clip",
                Bytes(Encoding.UTF8.GetBytes(wrong), "application/json")), 400));
    }

    [Fact]
    public async Task DamagedPicturesAreNamed()
    {
        byte[] whole = File.ReadAllBytes(Repository.Picture());
        byte[] tiff = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Goldens", "Images", "other.tiff"));
        Assert.Contains("TIFF", await Refused(await Client.PostAsync("/v1/predict", Bytes(tiff)), 400));
        using var form = new MultipartFormDataContent { { Bytes(whole), "a" }, { Bytes(whole[..(whole.Length / 2)]), "b", "b.png" } };
        Assert.StartsWith("image 2: ", await Refused(await Client.PostAsync("/v1/predict", form), 400));
        var random = new Random(1);
        for (int i = 0; i < 200; i++)
        {
            byte[] mutant = [.. whole];
            for (int n = 0; n < 4; n++) mutant[random.Next(mutant.Length)] = (byte)random.Next(256);
            using HttpResponseMessage response = await Client.PostAsync("/v1/predict", Bytes(mutant));
            if (response.StatusCode != HttpStatusCode.OK) await Refused(response, 400);
        }
    }

    [Theory]
    [InlineData("GET", "/v1/predict", 405)]
    [InlineData("POST", "/", 405)]
    [InlineData("GET", "/nothing", 404)]
    [InlineData("GET", "/..%2f..%2fetc/passwd", 404)]
    [InlineData("GET", "/models/", 404)]
    public async Task NothingElseIsThere(string method, string path, int status) =>
        Assert.Contains("/openapi.json", await Refused(await Client.SendAsync(new HttpRequestMessage(new HttpMethod(method), path)), status));

    /// <summary>A page whose name was made to lead here must not read answers, nor a form of another site ask for work.</summary>
    [Theory]
    [InlineData("evil.example", null, 421)]
    [InlineData("127.0.0.1.evil.example", null, 421)]
    [InlineData(null, "http://evil.example", 403)]
    [InlineData(null, "null", 403)]
    [InlineData("localhost", null, 200)]
    [InlineData("[::1]:80", null, 200)]
    public async Task OnlyThisMachinesNamesAreAnswered(string? host, string? origin, int status)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, "/health");
        if (host is not null) request.Headers.Host = host;
        if (origin is not null) request.Headers.Add("Origin", origin);
        HttpResponseMessage response = await Client.SendAsync(request);
        if (status == 200) Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        else await Refused(response, status);
    }

    [Fact]
    public async Task BodiesAndPicturesHaveLimits()
    {
        var settings = new ServerSettings { Models = [Agents], Port = 0, MostBodyBytes = 6000, MostPixels = 1 << 20 };
        (Service service, HttpClient client) = await Start(settings);
        await using (service)
        using (client)
        {
            Assert.Contains("scale the image down", await Refused(await client.PostAsync("/v1/predict", Bytes(new byte[6001])), 413));
            var chunked = new HttpRequestMessage(HttpMethod.Post, "/v1/predict") { Content = Bytes(new byte[6001]) };
            chunked.Headers.TransferEncodingChunked = true;
            await Refused(await client.SendAsync(chunked), 413);
            using var large = new MemoryStream();
            PngWriter.Write(large, new Image(1025, 1024, 1));
            Assert.InRange(large.Length, 1, 6000);
            string line = await Refused(await client.PostAsync("/v1/predict", Bytes(large.ToArray())), 400);
            Assert.Equal("image 1: 1025 x 1024 pixels is too large (limit 1 megapixels); scale it down.", line);
        }
    }

    /// <summary>A client that sends all before it listens gets the answer too, and not a connection that broke under its hands.</summary>
    [Theory]
    [InlineData(false, null)]
    [InlineData(true, null)]
    [InlineData(true, Form)]
    public async Task ABodyThatIsTooLongIsRefusedThoughItIsStillBeingSent(bool chunked, string? type)
    {
        (Service service, HttpClient client) = await Start(new() { Models = [Agents], Port = 0, MostBodyBytes = 6000 });
        await using (service)
        using (client)
        {
            using var content = new Slowly(chunked, type is null ? "" : "--xyz\r\n\r\n");
            if (type is not null) content.Headers.TryAddWithoutValidation("Content-Type", type);
            var request = new HttpRequestMessage(HttpMethod.Post, "/v1/predict") { Content = content };
            request.Headers.TransferEncodingChunked = chunked;
            Assert.Contains("scale the image down", await Refused(await client.SendAsync(request), 413));
            Assert.True(content.AllSent);
        }
    }

    private sealed class Slowly(bool chunked, string beginning) : HttpContent
    {
        private const int Pieces = 15, Piece = 1000;

        public bool AllSent { get; private set; }

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(beginning));
            for (int i = 0; i < Pieces; i++)
            {
                await stream.WriteAsync(new byte[Piece]);
                await stream.FlushAsync();
                await Task.Delay(10);
            }
            AllSent = true;
        }

        protected override bool TryComputeLength(out long length)
        {
            length = beginning.Length + (Pieces * Piece);
            return !chunked;
        }
    }

    [Fact]
    public async Task AHostThatIsNoneIsRefusedBeforeAnythingListens()
    {
        var settings = new ServerSettings { Models = [Agents], Port = 0 };
        var e = await Assert.ThrowsAsync<EspalierException>(() => Service.Start(settings with { Host = "everywhere" }));
        Assert.Contains("--host everywhere", e.Message);
        e = await Assert.ThrowsAsync<EspalierException>(() => Service.Start(settings with { Models = ["none.safetensors"] }));
        Assert.Contains("none.safetensors", e.Message);
        await using Service first = await Service.Start(settings);
        int taken = new Uri(first.Address).Port;
        await Assert.ThrowsAsync<IOException>(() => Service.Start(settings with { Port = taken }));
    }

    /// <summary>Weights as others publish them: their network's name is no option here, but one of what writes a file that is served.
    /// </summary>
    [Fact]
    public async Task WeightsOfANetworkThatNobodyNamesAreRefusedWithWhatToDo()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("espalier-unnamed-");
        try
        {
            string weights = Path.Combine(folder.FullName, "weights.safetensors"), onnx = Path.Combine(folder.FullName, "net.onnx");
            ClipGolden.Write(weights, CheckpointFile.Read(Repository.Model("resnet20")).Arrays.Values);
            var settings = new ServerSettings { Models = [weights], Port = 0 };
            var e = await Assert.ThrowsAsync<EspalierException>(() => Service.Start(settings));
            Assert.StartsWith($"{weights}: does not say which network it is of (its tensors are those of resnet20", e.Message);
            Assert.Contains($"espalier export --onnx FILE.onnx --model {weights} --model-type NAME", e.Message);
            using (Model model = Model.Open(weights, new OpenOptions { Architecture = "resnet20" })) model.ExportOnnx(onnx);
            (Service service, HttpClient client) = await Start(settings with { Models = [onnx] });
            await using (service)
            using (client)
            {
                JsonElement answer = await Json(await client.PostAsync("/v1/predict?top=10", FileContent(Repository.Picture())));
                Assert.Equal(10, answer.GetProperty("results")[0].GetProperty("classes").GetArrayLength());
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
