using System.Runtime.InteropServices;
using Espalier.Clip;
using Espalier.Compression;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Writes random models and random images, the same ones at every run, each at its first use.</summary>
internal sealed class ModelFolder(string folder)
{
    /// <summary>Images in an input file: the largest batch that is measured.</summary>
    public const int Images = 64;

    private const int CalibrationImages = 4;

    private readonly Dictionary<string, ModelFiles> made = [];

    /// <summary>Writes every model, for a build that is to be held against another one.</summary>
    public void WriteAll()
    {
        foreach (string name in Shapes.Large.Concat(Shapes.Fashion)) Get(name);
        Get("ViT-B/16", agents: true);
        foreach (string name in Shapes.Cnns) Cnn(name);
        Cnn(Shapes.PrunedCnn, Shapes.PrunedShare);
    }

    /// <param name="agents">Whether it has APT's agents, random too.</param>
    public VitFiles Get(string name, bool agents = false)
    {
        string key = agents ? name + " APT" : name;
        if (made.TryGetValue(key, out ModelFiles? files)) return (VitFiles)files;
        VitConfig config = Shapes.Get(name);
        var vit = new VitFiles(name, config, Weights(key), Input(config.Channels, config.ImageSize));
        using Model model = Model.FromModule(RandomModels.Vit(config));
        if (agents) TokenAgents.Add(model, config.PruneLayers);
        model.Save(vit.Weights);
        if (!agents) model.ExportOnnx(vit.Onnx, new OnnxOptions { Opset = 23 });
        made[key] = vit;
        return vit;
    }

    /// <summary>A convolutional network.</summary>
    /// <param name="keep">Share of the multiply-adds to keep at most, by removing channels; 1 for the whole network.</param>
    public CnnFiles Cnn(string name, double keep = 1)
    {
        string key = keep < 1 ? $"{name} {Units.Two(keep)}" : name;
        if (made.TryGetValue(key, out ModelFiles? files)) return (CnnFiles)files;
        CnnConfig config = Shapes.Cnn(name);
        using Model model = Model.FromModule(RandomModels.Cnn(config, keep, out long multiplyAdds));
        var cnn = new CnnFiles(name, config, multiplyAdds, Weights(key), Input(config.Channels, config.ImageSize));
        model.Save(cnn.Weights);
        model.ExportOnnx(cnn.Onnx);
        made[key] = cnn;
        return cnn;
    }

    /// <summary>CLIP's ViT-B/32 with random weights: its image tower, or that of texts.</summary>
    /// <param name="tokens">Of a text, start and end among them; null for the image tower.</param>
    public ClipFiles Clip(int? tokens)
    {
        string key = tokens is null ? "CLIP image" : $"CLIP text {tokens}";
        if (made.TryGetValue(key, out ModelFiles? files)) return (ClipFiles)files;
        string towers = Path.Combine(folder, "clip"), checkpoint = Weights("clip");
        var config = new ClipConfig
        {
            Embedding = 512, ImageSize = 224, ImageWidth = 768, ImageLayers = [12], PatchSize = 32, TextWidth = 512,
        };
        if (!File.Exists(Path.Combine(towers, ClipModel.TextFileName)))
        {
            using var image = new ClipVision(config);
            using var text = new ClipText(config);
            Safetensors.Write(checkpoint, image.StateDict().Concat(text.StateDict()).Select(w =>
                new NamedArray(w.Name, w.Value.Shape.ToArray(), w.Value.ToArray())), new Dictionary<string, string>());
            ClipModel.SaveTowers(checkpoint, towers);
            File.Delete(checkpoint);
        }
        string name = tokens is null ? ClipModel.ImageFileName : ClipModel.TextFileName;
        var clip = new ClipFiles(key, tokens is null ? 3 : 0, tokens is null ? config.ImageSize : config.Context,
            Path.Combine(towers, name), tokens is { } count ? Ids(count, config) : Input(3, config.ImageSize));
        using (Model model = tokens is null ? ClipModel.OpenImageTower(towers) : ClipModel.OpenTextTower(towers))
            model.ExportOnnx(clip.Onnx, new OnnxOptions { Opset = 23 });
        made[key] = clip;
        return clip;
    }

    /// <summary>Texts of so many tokens, behind which there is nothing.</summary>
    private string Ids(int tokens, ClipConfig config)
    {
        string path = Path.Combine(folder, $"ids-{tokens}.f32");
        var rng = new Rng(5);
        var ids = new float[Images * config.Context];
        for (int i = 0; i < Images; i++)
        {
            Span<float> row = ids.AsSpan(i * config.Context, tokens);
            foreach (ref float id in row) id = 256 + (int)(rng.NextFloat() * (config.Vocabulary - 258));
            (row[0], row[^1]) = (config.Vocabulary - 2, config.Vocabulary - 1);
        }
        File.WriteAllBytes(path, MemoryMarshal.AsBytes(ids.AsSpan()).ToArray());
        return path;
    }

    /// <summary>The model in 8 bits, with ranges found on its first images.</summary>
    public ModelFiles Rounded(ModelFiles whole)
    {
        string key = $"{Path.GetFileNameWithoutExtension(whole.Weights)} int8";
        if (made.TryGetValue(key, out ModelFiles? files)) return files;
        ModelFiles rounded = whole with { Weights = Weights(key) };
        using Model model = Model.Open(whole.Weights);
        using var scope = new Scope();
        var images = new Tensor(new Shape(CalibrationImages, whole.Channels, whole.ImageSize, whole.ImageSize));
        using (FileStream file = File.OpenRead(whole.Input)) file.ReadExactly(MemoryMarshal.AsBytes(images.Span));
        PostTraining.Run(model.Graph, [images]);
        model.Save(rounded.Weights);
        model.ExportOnnx(rounded.Onnx);
        return made[key] = rounded;
    }

    private string Weights(string key)
    {
        Directory.CreateDirectory(folder);
        return Path.Combine(folder, key.Replace('/', '-').Replace(' ', '-') + ".safetensors");
    }

    private string Input(int channels, int size)
    {
        string path = Path.Combine(folder, $"images-{channels}x{size}.f32");
        if (made.Values.Any(m => m.Input == path)) return path;
        var rng = new Rng(3);
        var image = new float[channels * size * size];
        using FileStream file = File.Create(path);
        for (int i = 0; i < Images; i++)
        {
            foreach (ref float x in image.AsSpan()) x = rng.NextNormal();
            file.Write(MemoryMarshal.AsBytes(image.AsSpan()));
        }
        return path;
    }
}
