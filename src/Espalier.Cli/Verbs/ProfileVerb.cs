using System.CommandLine;
using System.Diagnostics;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;
using Spectre.Console;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier profile`: parameters, multiply-adds, memory and time a layer.</summary>
internal static class ProfileVerb
{
    private static readonly Option<int?> BatchSize = Opt.Number("--batch-size", "Images at once [1]", 1, 1 << 16);
    private static readonly Option<bool> Ops = Opt.Flag("--ops", "List the operations of each layer");

    public static Command Create(Session session)
    {
        var verb = new Verb("profile", "Parameters, multiply-adds, activation memory and measured time of each layer.",
            "espalier profile --model-type ViT-B_16 --batch-size 8", "espalier profile --model apt.safetensors --ops")
        {
            Shared.Model, Shared.ModelType, Shared.Config, BatchSize, Shared.ImageSize, Ops, Shared.Threshold, Shared.Data,
                Shared.DataDir,
        };
        verb.SetAction(parse => Run(parse, session));
        return verb;
    }

    private static int Run(ParseResult parse, Session session)
    {
        using LoadedModel? loaded = parse.GetValue(Shared.Model) is { } path ? Checkpoints.Load(parse, path) : null;
        using VisionTransformer? fresh = loaded is null ? new VisionTransformer(Shape(parse)) : null;
        VisionTransformer vit = loaded?.Vit ?? fresh!;
        VitConfig c = vit.Config;
        using var scope = new Scope();
        using Tensor images = Images(parse, loaded, c, out string source);
        session.Terminal.Line($"{c.NumLayers} blocks of width {c.HiddenSize}, {c.Tokens} tokens, batch of {images.Shape[0]}, "
            + $"{Espalier.Tensors.Threading.Workers.Threads} threads");
        IReadOnlyList<LayerProfile> layers = VitProfile.Run(vit, images);
        Print(session.Terminal, layers, images.Shape[0], parse.GetValue(Ops));
        if (loaded?.Apt is { } apt) PrintPruned(session.Terminal, apt, images, source);
        return ExitCodes.Done;
    }

    private static VitConfig Shape(ParseResult parse)
    {
        if (parse.GetValue(Shared.Config) is { } config) return VitConfig.Read(config);
        VitConfig shape = VitPresets.Get(parse.GetValue(Shared.ModelType)
            ?? throw new EspalierException("say what to profile: --model FILE, --model-type NAME or --config FILE.json"));
        return parse.GetValue(Shared.ImageSize) is { } size ? (shape with { ImageSize = size }).Checked("--img-size") : shape;
    }

    /// <summary>Images of the model's data set, so that its agents see what they know; noise where there are none.</summary>
    private static Tensor Images(ParseResult parse, LoadedModel? model, VitConfig c, out string source)
    {
        int count = parse.GetValue(BatchSize) ?? 1;
        string? name = parse.GetValue(Shared.Data) ?? model?.Structure.Dataset;
        if (name is "fashion-mnist" && parse.GetValue(Shared.Data) is null
            && Datasets.Find(name, parse.GetValue(Shared.DataDir)) is null)
            name = "fashion-mnist-sample";
        bool here = name is not null && (parse.GetValue(Shared.Data) is not null || name == "fashion-mnist-sample"
            || Datasets.Find(name, parse.GetValue(Shared.DataDir)) is not null);
        var images = Tensor.Unscoped(new Shape(count, c.Channels, c.ImageSize, c.ImageSize));
        source = here ? $"{name}'s test images" : "noise";
        if (here)
        {
            IImageDataset data = Datasets.Open(name!, parse.GetValue(Shared.DataDir)).Test;
            var pipeline = ImagePipeline.Eval(c.ImageSize, c.Channels);
            var rng = new Rng(0);
            int size = (int)(images.Length / count);
            for (int i = 0; i < count; i++) pipeline.Run(data.ReadImage(i % data.Count), ref rng,
                images.Span.Slice(i * size, size));
        }
        else
        {
            var rng = new Rng(0);
            foreach (ref float x in images.Span) x = 2 * rng.NextFloat() - 1;
        }
        return images;
    }

    private static void Print(Terminal terminal, IReadOnlyList<LayerProfile> layers, int batch, bool ops)
    {
        double total = layers.Sum(l => l.Time.TotalMilliseconds);
        Table table = Tables.New("layer", "parameters", "MACs an image", "activations", "ms", "time", "GMAC/s");
        foreach (LayerProfile layer in layers)
        {
            Add(layer.Name, Format.Large(layer.Parameters), layer.MultiplyAdds, layer.ActivationBytes, layer.Time);
            if (!ops) continue;
            foreach (OpProfile op in layer.Ops) Add($"  {op.Name}", "", op.MultiplyAdds, op.ActivationBytes, op.Time);
        }
        Add("total", Format.Large(layers.Sum(l => l.Parameters)), layers.Sum(l => l.MultiplyAdds),
            layers.Sum(l => l.ActivationBytes),
            new TimeSpan(layers.Sum(l => l.Time.Ticks)));
        terminal.Console.Write(table);

        void Add(string name, string parameters, long macs, long bytes, TimeSpan time) => table.Row(name, parameters,
            macs == 0 ? "" : Format.Large((double)macs / batch), Format.Bytes(bytes),
                Format.Number(time.TotalMilliseconds, "0.000"),
            Format.Share(time.TotalMilliseconds / total),
            macs == 0 ? "" : Format.Number(macs / Math.Max(time.TotalSeconds, 1e-9) / 1e9, "0.0"));
    }

    private static void PrintPruned(Terminal terminal, AptModel apt, Tensor images, string source)
    {
        int batch = images.Shape[0];
        double[] tokens = new double[1 + apt.Layers.Count];
        double macs = 0;
        double plain = Median(() => apt.Vit.Forward(images)), pruned = Median(() => apt.Forward(images));
        using (new Scope())
        {
            AptOutput output = apt.Forward(images);
            for (int b = 0; b < batch; b++)
            {
                int[] left = output.TokensOf(b);
                for (int i = 0; i < left.Length; i++) tokens[i] += (double)left[i] / batch;
                macs += (double)apt.MultiplyAdds(left) / batch;
            }
        }
        double dense = VitCost.Dense(apt.Vit.Config);
        terminal.Line($"unpruned    {Format.Large(dense)} MACs an image, {Format.Number(plain, "0.000")} ms");
        terminal.Line($"pruned      {Format.Large(macs)} MACs an image ({Format.Share(macs / dense)}), "
            + $"{Format.Number(pruned, "0.000")} ms ({Format.Number(plain / pruned, "0.00")}x as fast), "
            + $"tokens {Format.Tokens(tokens)}, on {source}");
    }

    private static double Median(Action pass)
    {
        var times = new List<double>();
        for (int i = 0; i < 8; i++)
        {
            using var scope = new Scope();
            long start = Stopwatch.GetTimestamp();
            pass();
            if (i > 0) times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        return times.Order().ElementAt(times.Count / 2);
    }
}
