using System.Diagnostics;
using System.Net;
using Espalier.Benchmarking;

namespace Espalier.Serving;

/// <param name="Single">Seconds of a request while nothing else is asked, the median.</param>
/// <param name="Capacity">Requests a second of 100 clients, each with one at a time.</param>
/// <param name="MeanBatch">Images of a computation then.</param>
/// <param name="Half">Times of requests that come at random at half of that rate.</param>
/// <param name="Refused">Of a burst of 1,000 requests at once: those answered with 429.</param>
/// <param name="Memory">Resident MB after each part: full load, half load, damaged images, burst, full load again.</param>
/// <param name="Wrong">What must not be.</param>
internal sealed record LoadFigures(double Single, double Capacity, double MeanBatch, SampleStatistics Half, int Answered,
    int Refused, int Malformed, IReadOnlyList<double> Memory, IReadOnlyList<string> Wrong);

/// <summary>One client, a hundred, random arrivals, damaged images, and more than the queue holds.</summary>
internal sealed class Load(ServerUnderLoad server, byte[] image)
{
    private const int Clients = 100, Malformed = 1000, Burst = 1000;

    private static readonly TimeSpan Alone = TimeSpan.FromSeconds(6), Full = TimeSpan.FromSeconds(15),
        Random = TimeSpan.FromSeconds(40);

    private readonly List<string> wrong = [];
    private readonly List<double> memory = [];

    public async Task<LoadFigures> Run()
    {
        await Closed(1, TimeSpan.FromSeconds(4));
        await Closed(Clients, TimeSpan.FromSeconds(4));
        double single = SampleStatistics.Of(await Closed(1, Alone)).P50 / 1e9;
        double images = await server.Metric("espalier_images_total"), batches = await server.Metric("espalier_batches_total");
        double capacity = (await Closed(Clients, Full)).Count / Full.TotalSeconds;
        double mean = (await server.Metric("espalier_images_total") - images) / (await server.Metric("espalier_batches_total") - batches);
        await Note();
        SampleStatistics half = SampleStatistics.Of(await Open(capacity / 2, Random));
        await Note();
        int malformed = await Damaged();
        await Note();
        HttpStatusCode[] burst = await Task.WhenAll(Enumerable.Range(0, Burst).Select(_ => Task.Run(() => Ask(image))));
        int answered = burst.Count(s => s == HttpStatusCode.OK), refused = burst.Count(s => s == HttpStatusCode.TooManyRequests);
        if (answered + refused != Burst) wrong.Add($"{Burst - answered - refused} of a burst were neither answered nor refused");
        await Note();
        await Closed(Clients, Full);
        await Note();
        if (!server.IsAlive) wrong.Add("the service is gone");
        return new LoadFigures(single, capacity, mean, half, answered, refused, malformed, memory, wrong);
    }

    private async Task Note() => memory.Add(await server.Metric("process_resident_memory_bytes") / (1 << 20));

    private async Task<HttpStatusCode> Ask(byte[] body)
    {
        using HttpResponseMessage response = await server.Client.PostAsync("/v1/predict", new ByteArrayContent(body));
        await response.Content.CopyToAsync(Stream.Null);
        return response.StatusCode;
    }

    /// <param name="started">When it was due; late clients must not hide what waited.</param>
    /// <returns>Nanoseconds of the request.</returns>
    private async Task<long> Timed(long started)
    {
        HttpStatusCode status = await Ask(image);
        if (status != HttpStatusCode.OK)
            lock (wrong) wrong.Add($"a good image was answered with {(int)status}");
        return (long)Stopwatch.GetElapsedTime(started).TotalNanoseconds;
    }

    /// <summary>Clients that ask again as soon as they have their answer.</summary>
    private async Task<List<long>> Closed(int clients, TimeSpan time)
    {
        long started = Stopwatch.GetTimestamp();
        List<long>[] all = await Task.WhenAll(Enumerable.Range(0, clients).Select(_ => Task.Run(async () =>
        {
            var times = new List<long>();
            while (Stopwatch.GetElapsedTime(started) < time) times.Add(await Timed(Stopwatch.GetTimestamp()));
            return times;
        })));
        return [.. all.SelectMany(t => t)];
    }

    /// <summary>Requests that come at random times, whatever became of those before them.</summary>
    private async Task<List<long>> Open(double rate, TimeSpan time)
    {
        var random = new Random(1);
        var asked = new List<Task<long>>();
        long started = Stopwatch.GetTimestamp();
        for (double at = 0; at < time.TotalSeconds; at += -Math.Log(1 - random.NextDouble()) / rate)
        {
            double wait = at - Stopwatch.GetElapsedTime(started).TotalSeconds;
            if (wait > 0) await Task.Delay(TimeSpan.FromSeconds(wait));
            asked.Add(Timed(started + (long)(at * Stopwatch.Frequency)));
        }
        return [.. await Task.WhenAll(asked)];
    }

    /// <summary>Images with bytes changed, cut off, or none at all.</summary>
    private async Task<int> Damaged()
    {
        var random = new Random(2);
        byte[][] bodies = [.. Enumerable.Range(0, Malformed).Select(i =>
        {
            byte[] body = [.. image];
            if (i % 3 == 0) return body[..random.Next(body.Length)];
            if (i % 3 == 1) random.NextBytes(body);
            else for (int n = 0; n < 8; n++) body[8 + random.Next(body.Length - 8)] ^= (byte)random.Next(1, 256);
            return body;
        })];
        int next = -1, refused = 0;
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(_ => Task.Run(async () =>
        {
            for (int i = Interlocked.Increment(ref next); i < Malformed; i = Interlocked.Increment(ref next))
            {
                HttpStatusCode status = await Ask(bodies[i]);
                if (status == HttpStatusCode.BadRequest) Interlocked.Increment(ref refused);
                else if (status != HttpStatusCode.OK)
                    lock (wrong) wrong.Add($"a damaged image was answered with {(int)status}");
            }
        })));
        return refused;
    }
}
