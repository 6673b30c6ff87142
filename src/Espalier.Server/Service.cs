using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text;
using Espalier.Imaging;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Espalier.Server;

/// <summary>The page and the interface over HTTP of some models, until it is stopped.</summary>
internal sealed class Service : IAsyncDisposable
{
    /// <summary>Open connections at most: each may hold a request.</summary>
    private const int MostConnections = 1024;

    private static readonly TimeSpan HeadersTime = TimeSpan.FromSeconds(10);

    private readonly WebApplication app;
    private readonly IReadOnlyList<ServedModel> models;
    private readonly ServerSettings settings;
    private readonly Upload upload;
    private readonly Metrics metrics;
    // Decoders take much more memory than files; as many as there are processors keep those busy.
    private readonly SemaphoreSlim decoders = new(Environment.ProcessorCount);

    private Service(WebApplication app, IReadOnlyList<ServedModel> models, ServerSettings settings)
    {
        (this.app, this.models, this.settings) = (app, models, settings);
        upload = new Upload(settings);
        metrics = new Metrics(models, upload);
    }

    /// <summary>Where it listens, such as http://127.0.0.1:8080.</summary>
    public string Address => app.Urls.First();

    public IEnumerable<ModelInfo> Models => models.Select(m => m.Info);

    /// <exception cref="EspalierException">A model is missing or damaged, or the host is no address.</exception>
    /// <exception cref="IOException">The port is taken.</exception>
    public static async Task<Service> Start(ServerSettings settings)
    {
        IPAddress address = settings.Host == "localhost" ? IPAddress.Loopback
            : IPAddress.TryParse(settings.Host, out IPAddress? given) ? given
            : throw new EspalierException($"--host {settings.Host}: give an address of this machine: 127.0.0.1 for itself alone, "
                + "0.0.0.0 for all");
        var models = new List<ServedModel>();
        try
        {
            foreach (string path in settings.Models) models.Add(ServedModel.Open(path, NameOf(path, models), settings));
            WebApplication app = Build(settings, address);
            var service = new Service(app, models, settings);
            service.Map(IPAddress.IsLoopback(address));
            try
            {
                await app.StartAsync();
            }
            catch
            {
                await app.DisposeAsync();
                throw;
            }
            return service;
        }
        catch
        {
            foreach (ServedModel model in models) await model.DisposeAsync();
            throw;
        }
    }

    /// <summary>Ends when it was stopped, by a signal too, and what was begun is answered.</summary>
    public Task Ended() => app.WaitForShutdownAsync();

    public void Stop() => app.Lifetime.StopApplication();

    public async ValueTask DisposeAsync()
    {
        await app.DisposeAsync();
        foreach (ServedModel model in models) await model.DisposeAsync();
        decoders.Dispose();
    }

    /// <summary>The file's name without its ending, the folder's, or that of a published model; with a number where that is taken.
    /// </summary>
    private static string NameOf(string path, List<ServedModel> models)
    {
        string name = File.Exists(path) ? Path.GetFileNameWithoutExtension(path)
            : Directory.Exists(path) ? Path.GetFileName(Path.TrimEndingDirectorySeparator(path)) : path, unique = name;
        for (int i = 2; models.Exists(m => m.Name == unique); i++) unique = $"{name}-{i}";
        return unique;
    }

    private static WebApplication Build(ServerSettings settings, IPAddress address)
    {
        // Empty: no settings from the folder or the environment of whoever starts it, no log, no files.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = Upload.ReadAndForgotten * settings.MostBodyBytes;
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.RequestHeadersTimeout = HeadersTime;
            kestrel.Listen(address, settings.Port);
        });
        builder.Services.AddRoutingCore();
        builder.Services.Configure<HostOptions>(o => o.ShutdownTimeout = TimeSpan.FromSeconds(settings.Seconds));
        return builder.Build();
    }

    private void Map(bool loopback)
    {
        byte[] page = Page.Document(), contract = Page.Resource("openapi.json");
        app.Use(Guarded);
        if (loopback) app.Use(OwnHost);
        app.MapGet("/", c =>
        {
            // The rest of the policy is in the page; this part a page cannot say of itself.
            c.Response.Headers.ContentSecurityPolicy = "frame-ancestors 'none'";
            return Write(c, "text/html; charset=utf-8", page);
        });
        app.MapGet("/openapi.json", c => Write(c, "application/json", contract));
        var health = new Health("ok", [.. models.Select(m => m.Name)]);
        IReadOnlyList<ModelInfo> infos = [.. Models];
        app.MapGet("/health", c => c.Response.WriteAsJsonAsync(health, AnswerJson.Default.Health));
        app.MapGet("/metrics", c => Write(c, Metrics.Media, Encoding.UTF8.GetBytes(metrics.Text())));
        app.MapGet("/v1/models", c => c.Response.WriteAsJsonAsync(infos, AnswerJson.Default.IReadOnlyListModelInfo));
        app.MapPost("/v1/predict", c => Timed(c, Predict));
        app.MapPost("/v1/embed", c => Timed(c, Embed));
    }

    private static Task Write(HttpContext context, string media, byte[] content)
    {
        context.Response.ContentType = media;
        return context.Response.Body.WriteAsync(content, context.RequestAborted).AsTask();
    }

    /// <summary>Counts each request, and turns what goes wrong into one line.</summary>
    private async Task Guarded(HttpContext context, RequestDelegate next)
    {
        long started = Stopwatch.GetTimestamp();
        IHeaderDictionary headers = context.Response.Headers;
        (headers.XContentTypeOptions, headers.CacheControl) = ("nosniff", "no-store");
        (headers["Referrer-Policy"], headers["Cross-Origin-Resource-Policy"]) = ("no-referrer", "same-origin");
        int status = 0;
        string line = "";
        try
        {
            await next(context);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentType: null })
            {
                status = context.Response.StatusCode;
                line = $"nothing answers {context.Request.Method} here; /openapi.json says what there is";
            }
        }
        catch (Refusal e)
        {
            (status, line) = (e.Status, e.Message);
        }
        catch (EspalierException e)
        {
            (status, line) = (StatusCodes.Status400BadRequest, e.Message);
        }
        catch (BadHttpRequestException e)
        {
            (status, line) = (e.StatusCode, e.Message);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            if (!context.Response.HasStarted) context.Response.StatusCode = StatusCodes.Status499ClientClosedRequest;
        }
        catch (Exception e)
        {
            (status, line) = (StatusCodes.Status500InternalServerError, $"unexpected failure ({e.GetType().Name})");
            await Console.Error.WriteLineAsync($"espalier: {line}: {Problem.OneLine(e.Message)}");
        }
        if (status != 0) await Problem.Write(context, status, line);
        string route = (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "other";
        metrics.Count(route, context.Response.StatusCode, Stopwatch.GetElapsedTime(started));
    }

    /// <summary>
    /// On loopback only this machine's own names are answered: a web page that has its name resolved to 127.0.0.1 comes with that
    /// name, and a form of another site with that site's origin.
    /// </summary>
    private static Task OwnHost(HttpContext context, RequestDelegate next)
    {
        string host = context.Request.Host.Host;
        bool loopback = IPAddress.TryParse(host.Trim('[', ']'), out IPAddress? address) && IPAddress.IsLoopback(address);
        if (!loopback && host != "localhost")
            throw new Refusal(StatusCodes.Status421MisdirectedRequest, "this service answers to localhost and 127.0.0.1 only");
        string? origin = context.Request.Headers.Origin;
        if (origin is not null && origin != $"{context.Request.Scheme}://{context.Request.Host}")
            throw new Refusal(StatusCodes.Status403Forbidden, "this service does not answer pages of other sites");
        return next(context);
    }

    private Task Timed(HttpContext context, Func<HttpContext, CancellationToken, Task> answer) => upload.Held(context.Request,
        async () =>
    {
        using var time = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        time.CancelAfter(TimeSpan.FromSeconds(settings.Seconds));
        try
        {
            await answer(context, time.Token);
        }
        catch (OperationCanceledException) when (!context.RequestAborted.IsCancellationRequested)
        {
            string line = string.Create(CultureInfo.InvariantCulture, $"no answer within {settings.Seconds:0.##} seconds; ask again later");
            throw new Refusal(StatusCodes.Status503ServiceUnavailable, line);
        }
        return true;
    });

    private async Task Predict(HttpContext context, CancellationToken cancel)
    {
        var question = Question.Of(context.Request.Query, models);
        if (question.Model.Waiting >= settings.Queue) throw Refusal.Busy();
        List<byte[]> files = await upload.Images(context.Request, cancel);
        PictureAnswer[] results = await Each(files, async (file, i, stop) =>
            await question.Model.Predict(await Decoded(file, i, stop), question, waits: i > 0, stop), cancel);
        string pruning = question.Pruning?.ToString() ?? question.Model.Info.Pruning;
        var all = new PredictAnswer(question.Model.Name, pruning, results);
        await context.Response.WriteAsJsonAsync(all, AnswerJson.Default.PredictAnswer);
    }

    private async Task Embed(HttpContext context, CancellationToken cancel)
    {
        var question = EmbedQuestion.Of(context.Request.Query, models);
        ServedModel model = question.Model;
        if (model.Waiting >= settings.Queue) throw Refusal.Busy();
        float[][] vectors;
        if (context.Request.HasJsonContentType())
            vectors = await Each(await upload.Texts(context.Request, cancel), (text, i, stop) =>
                model.Embed(text, question.Truncate, waits: i > 0, stop), cancel);
        else
            vectors = await Each(await upload.Images(context.Request, cancel), async (file, i, stop) =>
                await model.Embed(await Decoded(file, i, stop), waits: i > 0, stop), cancel);
        await context.Response.WriteAsJsonAsync(new EmbedAnswer(model.Name, vectors), AnswerJson.Default.EmbedAnswer);
    }

    /// <summary>
    /// What is asked of each part of a request; where one fails, the others are not computed any more. The first is refused where the
    /// queue is full, the others wait for room: a request may have more parts than the queue has places. Each is decoded when the one
    /// before it has its place, so that no request holds more than one picture that waits for room.
    /// </summary>
    private static async Task<TOut[]> Each<TIn, TOut>(IReadOnlyList<TIn> parts, Func<TIn, int, CancellationToken, Task<Task<TOut>>> ask,
        CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var answers = new List<Task<TOut>>(parts.Count);
        for (int i = 0; i < parts.Count; i++)
        {
            Task<Task<TOut>> asked = ask(parts[i], i, stop.Token);
            answers.Add(Answer(asked));
            // What failed is thrown below, when the others have ended.
            await ((Task)asked).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!asked.IsCompletedSuccessfully) break;
        }
        return await Task.WhenAll(answers);

        async Task<TOut> Answer(Task<Task<TOut>> asked)
        {
            try
            {
                return await await asked;
            }
            catch
            {
                await stop.CancelAsync();
                throw;
            }
        }
    }

    private async Task<Image> Decoded(byte[] file, int index, CancellationToken cancel)
    {
        await decoders.WaitAsync(cancel);
        try
        {
            return ImageFile.Decode(file, $"image {index + 1}", upright: true, Image.MaxPixels, maxSource: settings.MostPixels);
        }
        finally
        {
            decoders.Release();
        }
    }
}
