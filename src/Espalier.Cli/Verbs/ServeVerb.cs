using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Server;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier serve`: the page and the HTTP interface, by a program of its own.</summary>
internal static class ServeVerb
{
    private static readonly Option<string[]> Models = ClipChoice.Many("--model",
        "Model files that say which network they are of, or a CLIP; the page shows two side by side", "FILE");

    private static readonly Option<string?> Host = Opt.Text("--host",
        "Address that is listened on [127.0.0.1: this machine alone]; 0.0.0.0 for all, without any check of who asks", "ADDRESS");

    private static readonly Option<int?> Port =
        Opt.Number("--port", "Port that is listened on [8080]; 0 for one that is free", 0, 65535);

    private static readonly Option<int?> Batch =
        Opt.Number("--batch-size", "Images that are computed together at most [as many as threads, and at least 4]", 1, 1024);

    private static readonly Option<int?> Queue =
        Opt.Number("--queue", "Images that may wait; more are refused with 429 [128]", 1, 1 << 16);

    private static readonly Option<int?> Body = Opt.Number("--max-body", "Longest request in MB [16]", 1, 1024, "MB");
    private static readonly Option<int?> Pixels = Opt.Number("--max-pixels", "Largest image in megapixels [64]", 1, 512, "MP");
    private static readonly Option<double?> Time =
        Opt.Number("--timeout", "Seconds that a request may take [30]", 0.1, 3600.0, "SECONDS");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("serve", "A page to drop pictures on, and an HTTP interface. Wants ASP.NET Core's runtime.",
            "espalier serve --model models/apt-fashion-mnist.safetensors",
            "espalier serve --model whole.safetensors small.safetensors --port 5000")
        {
            Models, Port, Host, Batch, Queue, Body, Pixels, Time, ClipChoice.Vocabulary,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string[] models = parse.GetValue(Models) is { Length: > 0 } files ? files : [Checkpoints.OrShipped()];
        var usual = new ServerSettings { Models = models };
        ServerSettings settings = usual with
        {
            Host = parse.GetValue(Host) ?? usual.Host,
            Port = parse.GetValue(Port) ?? usual.Port,
            Threads = parse.GetValue(Shared.Threads),
            Batch = parse.GetValue(Batch),
            Queue = parse.GetValue(Queue) ?? usual.Queue,
            MostBodyBytes = parse.GetValue(Body) is { } body ? body << 20 : usual.MostBodyBytes,
            MostPixels = parse.GetValue(Pixels) is { } pixels ? pixels << 20 : usual.MostPixels,
            Seconds = parse.GetValue(Time) ?? usual.Seconds,
            Vocabulary = parse.GetValue(ClipChoice.Vocabulary),
            StopsWithInput = true,
        };
        return ServerProcess.Run(settings, context);
    }
}
