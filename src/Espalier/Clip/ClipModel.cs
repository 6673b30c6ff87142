using System.Numerics.Tensors;
using Espalier.Data;
using Espalier.Files;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Clip;

/// <summary>How CLIP's weights are opened.</summary>
public sealed record ClipOptions
{
    /// <summary>The vocabulary's file; null for the published one, which is fetched when a first text is encoded.</summary>
    public string? Vocabulary { get; init; }

    /// <summary>Numbers that the products of both towers compute in.</summary>
    public Precision Precision { get; init; } = Precision.Fp32;

    /// <summary>Where models and the vocabulary are kept that are fetched by name; null for the usual folder.</summary>
    public string? Directory { get; init; }

    /// <summary>Reports of a download.</summary>
    public IProgress<DownloadProgress>? Progress { get; init; }
}

/// <summary>Images against texts.</summary>
/// <param name="PerImage">[images][texts]: cosines times the model's scale.</param>
/// <param name="PerText">[texts][images]: the same the other way round.</param>
public sealed record ClipLogits(float[][] PerImage, float[][] PerText)
{
    /// <summary>[images][texts]: for each image how probable each of the texts is.</summary>
    public float[][] Probabilities() => [.. PerImage.Select(row =>
    {
        var shares = new float[row.Length];
        TensorPrimitives.SoftMax(row, shares);
        return shares;
    })];
}

/// <summary>
/// CLIP (Radford et al., arXiv 2103.00020): images and sentences in one space.
/// <code>
/// using ClipModel model = ClipModel.Open("ViT-B/32");
/// ClipLogits logits = model.Logits([ImageFile.Read("boot.jpg")], ["a photo of a boot", "a photo of a bag"]);
/// float[] probabilities = logits.Probabilities()[0];
/// </code>
/// It may be used from several threads; calls then wait for one another.
/// </summary>
public sealed class ClipModel : IDisposable
{
    private const int BatchSize = 32;

    private readonly Session image;
    private readonly Session? text;
    private readonly ClipOptions options;
    private readonly ImagePipeline pipeline;
    private readonly int context, vocabulary;
    private readonly Lock gate = new();
    private ClipTokenizer? tokenizer;

    private ClipModel(Tower image, Tower? text, ClipOptions options)
    {
        (this.image, this.text, this.options) = (image.Session, text?.Session, options);
        (LogitScale, context, vocabulary) = (image.Scale, text?.Context ?? 0, text?.Vocabulary ?? 0);
        pipeline = ImagePipeline.Eval(image.Session.Preprocessing);
    }

    /// <summary>What a tower's file is called in a folder of both.</summary>
    public const string ImageFileName = "image.safetensors", TextFileName = "text.safetensors";

    /// <summary>What cosines are multiplied by.</summary>
    public float LogitScale { get; }

    /// <summary>Width of the features.</summary>
    public int Embedding => image.NumClasses;

    /// <summary>The image tower, in a few words.</summary>
    public string Description => image.Description;

    /// <summary>Whether there is a text tower.</summary>
    public bool KnowsTexts => text is not null;

    /// <summary>How pictures become the image tower's input.</summary>
    public Preprocessing Preprocessing => image.Preprocessing;

    /// <summary>Of texts; read, and where need be fetched, when it is first asked for.</summary>
    public ClipTokenizer Tokenizer
    {
        get
        {
            lock (gate)
            {
                if (tokenizer is not null) return tokenizer;
                RequireTexts();
                string path = options.Vocabulary
                    ?? Downloader.Wait(() => ClipWeights.FetchAsync(ClipWeights.Vocabulary, options.Directory, options.Progress));
                return tokenizer = ClipTokenizer.Open(path, vocabulary);
            }
        }
    }

    /// <summary>
    /// Opens both towers: a published model by its name, which is fetched once (see <see cref="ClipWeights.All"/>); a file of
    /// OpenAI's, open_clip's or Hugging Face's weights (TorchScript archive, state dict or safetensors); or a folder with
    /// <see cref="ImageFileName"/> and <see cref="TextFileName"/>, see <see cref="SaveTowers"/>.
    /// </summary>
    /// <exception cref="EspalierException">It is missing, damaged, or no CLIP.</exception>
    public static ClipModel Open(string path, ClipOptions? options = null)
    {
        options ??= new ClipOptions();
        path = Found(path, options);
        if (!Directory.Exists(path)) return OpenFile(path, options);
        Tower image = OfModel(Path.Combine(path, ImageFileName), options);
        try
        {
            string texts = Path.Combine(path, TextFileName);
            return Whole(image, File.Exists(texts) ? OfModel(texts, options) : null, options, path);
        }
        catch
        {
            image.Session.Dispose();
            throw;
        }
    }

    /// <summary>The two towers of a file as models of their own: to be made smaller, quantised, or written as ONNX. What was
    /// done to them may be saved under the same names again.</summary>
    /// <param name="folder">Gets <see cref="ImageFileName"/> and <see cref="TextFileName"/>.</param>
    /// <exception cref="EspalierException">The weights are no CLIP, or the files cannot be written.</exception>
    public static void SaveTowers(string path, string folder, ClipOptions? options = null)
    {
        path = Found(path, options ?? new ClipOptions());
        using ModelTensors file = ModelTensors.Open(path);
        ClipLayout layout = LayoutOf(file, path);
        Directory.CreateDirectory(folder);
        if (layout.Config.Context > 0) Save(layout.Text, layout.TextTower(), TextFileName);
        Save(layout.Image, layout.ImageTower(), ImageFileName);

        void Save(ModelTensors tensors, (Graph, ModelCard) tower, string name)
        {
            using ModelReader reader = ModelReader.Of(tensors, tower, new OpenOptions { AnyInput = true });
            using Model model = Model.Of(reader);
            model.Save(Path.Combine(folder, name));
        }
    }

    /// <summary>The image tower as a model of its own.</summary>
    /// <param name="path">As in <see cref="Open"/>.</param>
    /// <exception cref="EspalierException">The weights are no CLIP.</exception>
    public static Model OpenImageTower(string path, ClipOptions? options = null)
    {
        path = Found(path, options ?? new ClipOptions());
        if (Directory.Exists(path)) return Model.Open(Path.Combine(path, ImageFileName));
        using ModelTensors file = ModelTensors.Open(path);
        ClipLayout layout = LayoutOf(file, path);
        using ModelReader reader = ModelReader.Of(layout.Image, layout.ImageTower(), new OpenOptions());
        return Model.Of(reader);
    }

    /// <summary>The text tower as a model of its own: ids [B, T] -> features.</summary>
    /// <param name="path">As in <see cref="Open"/>.</param>
    /// <exception cref="EspalierException">The weights are no CLIP, or there is no text tower.</exception>
    public static Model OpenTextTower(string path, ClipOptions? options = null)
    {
        path = Found(path, options ?? new ClipOptions());
        var any = new OpenOptions { AnyInput = true };
        if (Directory.Exists(path)) return Model.Open(Path.Combine(path, TextFileName), any);
        using ModelTensors file = ModelTensors.Open(path);
        ClipLayout layout = LayoutOf(file, path);
        using ModelReader reader = ModelReader.Of(layout.Text, layout.TextTower(), any);
        return Model.Of(reader);
    }

    /// <summary>Features of pictures, not normalised.</summary>
    /// <returns>[images][embedding].</returns>
    public float[][] EncodeImage(params IReadOnlyList<Image> images) =>
        Encoded(image, images.Count, InputValues, (i, values) => Prepare(images[i], values));

    /// <summary>A picture as the image tower's input. Several threads may do this at once.</summary>
    internal float[] Prepare(Image picture)
    {
        var values = new float[InputValues];
        Prepare(picture, values);
        return values;
    }

    /// <summary><see cref="EncodeImage"/> of pictures that were prepared.</summary>
    internal float[][] EncodePrepared(IReadOnlyList<float[]> inputs) =>
        Encoded(image, inputs.Count, InputValues, (i, values) => inputs[i].CopyTo(values));

    private int InputValues => 3 * image.ImageSize * image.ImageSize;

    private void Prepare(Image picture, Span<float> values)
    {
        var none = new Rng(0);
        pipeline.Run(picture, ref none, values);
    }

    /// <summary>Features of texts, not normalised.</summary>
    /// <param name="texts">At most as long as the model reads: see <see cref="ClipTokenizer.Encode(IReadOnlyList{string}, int,
    /// bool)"/>.</param>
    /// <returns>[texts][embedding].</returns>
    /// <exception cref="EspalierException">A text is too long, there is no text tower, or no vocabulary.</exception>
    public float[][] EncodeText(params IReadOnlyList<string> texts) => EncodeText(texts, truncate: false);

    /// <inheritdoc cref="EncodeText(IReadOnlyList{string})"/>
    /// <param name="truncate">Whether longer texts are cut.</param>
    public float[][] EncodeText(IReadOnlyList<string> texts, bool truncate)
    {
        RequireTexts();
        int[] ids = Tokenizer.Encode(texts, context, truncate);
        return Encoded(text!, texts.Count, context, (i, values) =>
        {
            for (int t = 0; t < context; t++) values[t] = ids[i * context + t];
        });
    }

    /// <summary>Every image against every text.</summary>
    /// <exception cref="EspalierException">See <see cref="EncodeText(IReadOnlyList{string})"/>.</exception>
    public ClipLogits Logits(IReadOnlyList<Image> images, IReadOnlyList<string> texts) =>
        Logits(EncodeImage(images), EncodeText(texts));

    /// <summary>The same of features, which need not be normalised.</summary>
    /// <param name="images">[images][embedding].</param>
    /// <param name="texts">[texts][embedding].</param>
    public ClipLogits Logits(float[][] images, float[][] texts)
    {
        float[][] f = [.. images.Select(Normalised)], t = [.. texts.Select(Normalised)];
        float[][] perImage = [.. f.Select(x => t.Select(y => LogitScale * TensorPrimitives.Dot<float>(x, y)).ToArray())];
        return new ClipLogits(perImage, [.. Enumerable.Range(0, t.Length).Select(j => perImage.Select(row => row[j]).ToArray())]);
    }

    /// <summary>A vector of length 1; one of zeros stays.</summary>
    public static float[] Normalised(float[] vector)
    {
        float norm = TensorPrimitives.Norm<float>(vector);
        var result = new float[vector.Length];
        if (norm > 0) TensorPrimitives.Divide(vector, norm, result);
        return result;
    }

    public void Dispose()
    {
        image.Dispose();
        text?.Dispose();
    }

    private static ClipModel OpenFile(string path, ClipOptions options)
    {
        using ModelTensors file = ModelTensors.Open(path);
        ClipLayout layout = LayoutOf(file, path);
        Tower? text = layout.Config.Context == 0 ? null : OfTower(layout.Text, layout.TextTower(), options);
        try
        {
            return Whole(OfTower(layout.Image, layout.ImageTower(), options), text, options, path);
        }
        catch
        {
            text?.Session.Dispose();
            throw;
        }
    }

    private static ClipLayout LayoutOf(ModelTensors file, string path) => ClipLayout.Of(file, () => new ClipBeside(path))
        ?? throw new EspalierException($"{path}: is of no CLIP whose names are known (OpenAI's, open_clip's, Hugging Face's)");

    /// <summary>The path of what is asked for.</summary>
    private static string Found(string path, ClipOptions options)
    {
        if (File.Exists(path) || Directory.Exists(path)) return path;
        if (ClipWeights.Find(path) is { } preset)
            return Downloader.Wait(() => ClipWeights.FetchAsync(preset.File, options.Directory, options.Progress));
        IEnumerable<string> names = ClipWeights.All.Select(p => p.Name);
        throw new EspalierException($"{path}: no such file, folder or model{Near.Hint(path, names)}; models are "
            + string.Join(", ", names));
    }

    private static Tower OfTower(ModelTensors tensors, (Graph, ModelCard) tower, ClipOptions options)
    {
        using ModelReader reader = ModelReader.Of(tensors, tower, new OpenOptions { AnyInput = true });
        return OfReader(reader, options);
    }

    private static Tower OfModel(string path, ClipOptions options)
    {
        using ModelReader reader = ModelReader.Open(path, new OpenOptions { AnyInput = true });
        return OfReader(reader, options);
    }

    private static Tower OfReader(ModelReader reader, ClipOptions options)
    {
        GraphNode? embed = reader.Graph.Nodes.FirstOrDefault(n => n.Op is EmbedTokensOp);
        var session = Session.Of(reader, new SessionOptions { Precision = options.Precision });
        return new Tower(session, reader.Card.LogitScale ?? 100, embed?.Operands[0]!.Shape[1] ?? 0, embed?.Operands[1]!.Shape[0]
            ?? 0);
    }

    private static ClipModel Whole(Tower image, Tower? text, ClipOptions options, string path)
    {
        if (image.Session.ImageSize == 0) throw new EspalierException($"{path}: its {ImageFileName} is of no images");
        if (text is { Context: 0 } || (text is not null && text.Session.NumClasses != image.Session.NumClasses))
            throw new EspalierException($"{path}: its two towers do not belong together: features of "
                + $"{image.Session.NumClasses} of images, and of {text.Session.NumClasses} of texts");
        return new ClipModel(image, text, options);
    }

    private void RequireTexts()
    {
        if (text is null) throw new EspalierException("the model has no text tower, so that it knows no texts");
    }

    private static float[][] Encoded(Session session, int count, int values, Filler fill)
    {
        var features = new float[count][];
        int width = session.NumClasses;
        var input = new float[(long)Math.Min(BatchSize, count) * values];
        var output = new float[Math.Min(BatchSize, count) * width];
        for (int start = 0; start < count; start += BatchSize)
        {
            int batch = Math.Min(BatchSize, count - start), first = start;
            Parallel.For(0, batch, i => fill(first + i, input.AsSpan(i * values, values)));
            session.Run(input.AsSpan(0, batch * values), batch, output.AsSpan(0, batch * width));
            for (int i = 0; i < batch; i++) features[start + i] = output.AsSpan(i * width, width).ToArray();
        }
        return features;
    }

    private delegate void Filler(int index, Span<float> values);

    /// <summary>A packed tower.</summary>
    /// <param name="Context">Of texts: how many ids it reads; 0 of images.</param>
    /// <param name="Vocabulary">Of texts: how many ids there are.</param>
    private sealed record Tower(Session Session, float Scale, int Context, int Vocabulary);
}
