using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>A side of the comparison: answers a <see cref="Peer"/>'s requests on standard input.</summary>
internal abstract class Server
{
    private readonly Dictionary<string, IWork> loaded = [];

    public void Run(TextReader input, TextWriter output)
    {
        while (input.ReadLine() is { } line)
        {
            JsonObject reply;
            try
            {
                reply = Answer(JsonNode.Parse(line)!.AsObject());
            }
            catch (Exception e) when (IsKnown(e))
            {
                reply = new JsonObject { ["error"] = e.Message.Split('\n')[0] };
            }
            output.WriteLine(reply.ToJsonString());
            output.Flush();
        }
    }

    /// <summary>What it is: name, version, and what it runs on.</summary>
    protected abstract JsonObject Hello();

    protected abstract IWork Load(JsonObject request);

    /// <summary>Whether it says what is wrong with a request; anything else ends the process.</summary>
    protected abstract bool IsKnown(Exception exception);

    /// <summary>A request that not every side knows.</summary>
    protected virtual JsonObject AnswerMore(JsonObject request) =>
        throw new ArgumentException($"no such request: {request["op"]}");

    protected IWork Loaded(JsonObject request) => loaded[(string)request["id"]!];

    private JsonObject Answer(JsonObject request)
    {
        switch ((string)request["op"]!)
        {
            case "hello":
                return Hello();
            case "load":
                loaded[(string)request["id"]!] = Load(request);
                return [];
            case "run":
                return new() { ["times"] = Times(Loaded(request), (double)request["seconds"]!) };
            case "output":
                return new() { ["output"] = new JsonArray([.. Loaded(request).Output().Select(x => JsonValue.Create(x))]) };
            case "unload":
                loaded.Remove((string)request["id"]!, out IWork? work);
                work!.Dispose();
                return [];
            default:
                return AnswerMore(request);
        }
    }

    /// <summary>Milliseconds of each call, until the window is over.</summary>
    private static JsonArray Times(IWork work, double seconds)
    {
        var times = new List<double>();
        long start = Stopwatch.GetTimestamp(), now = start;
        do
        {
            work.Call();
            long end = Stopwatch.GetTimestamp();
            times.Add(Stopwatch.GetElapsedTime(now, end).TotalMilliseconds);
            now = end;
        }
        while (Stopwatch.GetElapsedTime(start, now).TotalSeconds < seconds);
        return new JsonArray([.. times.Select(t => JsonValue.Create(t))]);
    }
}
