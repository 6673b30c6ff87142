using System.CommandLine;
using System.Text.Json;
using Espalier.Clip;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>What the verbs around CLIP have in common: which model, which texts, which pictures.</summary>
internal static class ClipChoice
{
    public static Option<string?> Model { get; } = Opt.Text("--model", "CLIP: a name of 'clip models', which is fetched once; a "
        + "checkpoint (.pt, .safetensors, .npz); or a folder of 'clip towers'", "NAME|FILE|DIR");

    public static Option<string?> Vocabulary { get; } = Opt.Text("--vocab",
        "The vocabulary, bpe_simple_vocab_16e6.txt.gz; by default the published one, which is fetched once", "FILE");

    public static Option<string[]> Texts { get; } = Many("--text", "Sentences", "TEXT...");

    public static Option<bool> Json { get; } = Opt.Flag("--json", "One JSON line for each, in the place of a table");

    /// <summary>One or more words, an empty one too.</summary>
    public static Option<string[]> Many(string name, string description, string helpName) => new(name)
    {
        Description = description, HelpName = helpName, Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true,
    };

    /// <summary>Opens the model that is asked for.</summary>
    public static ClipModel Open(ParseResult parse, CommandContext context)
    {
        string path = parse.GetValue(Model) ?? throw new EspalierException("say which CLIP with --model NAME or --model FILE");
        return ClipModel.Open(path, Options(parse, context));
    }

    public static ClipOptions Options(ParseResult parse, CommandContext context) => new()
    {
        Vocabulary = parse.GetValue(Vocabulary),
        Precision = parse.GetValue(Shared.Precision) is { } name ? Enum.Parse<Precision>(name, ignoreCase: true) : Precision.Fp32,
        Progress = new Received(context.Terminal),
    };

    /// <summary>Features of pictures, some at a time.</summary>
    public static List<float[]> Encode(ClipModel model, IReadOnlyList<string> files, CommandContext context)
    {
        const int Batch = 32;
        return Watch.Run(context.Terminal.BesideData(), "images", files.Count, report =>
        {
            var features = new List<float[]>();
            for (int start = 0; start < files.Count; start += Batch)
            {
                context.Cancel.ThrowIfCancellationRequested();
                report(start);
                features.AddRange(model.EncodeImage([.. files.Skip(start).Take(Batch).Select(f => ImageFile.Read(f))]));
            }
            return features;
        });
    }

    public static void Numbers(this Utf8JsonWriter json, string name, IEnumerable<float> numbers)
    {
        json.WriteStartArray(name);
        foreach (float x in numbers) json.WriteNumberValue(x);
        json.WriteEndArray();
    }

    public static void Strings(this Utf8JsonWriter json, string name, IEnumerable<string> texts)
    {
        json.WriteStartArray(name);
        foreach (string text in texts) json.WriteStringValue(text);
        json.WriteEndArray();
    }

    /// <summary>A line now and then while a model is fetched.</summary>
    private sealed class Received(Terminal terminal) : IProgress<DownloadProgress>
    {
        private DateTime last = DateTime.UtcNow;

        public void Report(DownloadProgress value)
        {
            if (DateTime.UtcNow - last < Watch.LineEvery) return;
            last = DateTime.UtcNow;
            string total = Format.Bytes(value.Total ?? value.Received);
            terminal.ErrorLine($"{value.File}: {Format.Bytes(value.Received)} of {total}");
        }
    }
}
