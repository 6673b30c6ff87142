using System.Runtime.InteropServices;
using Espalier.Compression.Apt;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>One model in the forms that the peers read.</summary>
/// <param name="Weights">safetensors.</param>
/// <param name="Input">Raw little-endian floats [<see cref="ModelFolder.Images"/>, C, S, S].</param>
internal sealed record ModelFiles(string Name, VitConfig Config, string Weights, string Input)
{
    public string Onnx => Path.ChangeExtension(Weights, ".onnx");

    /// <summary>Our 8-bit export; written at the first call.</summary>
    public string OnnxInt8()
    {
        string path = Path.ChangeExtension(Weights, ".int8.onnx");
        using LoadedModel model = ModelFile.Load(Weights);
        OnnxFile.Write(path, model, prune: false, Precision.Int8);
        return path;
    }
}

/// <summary>Writes random models and random images, the same ones at every run, each at its first use.</summary>
internal sealed class ModelFolder(string folder)
{
    /// <summary>Images in an input file: the largest batch that is measured.</summary>
    public const int Images = 64;

    private readonly Dictionary<string, ModelFiles> made = [];

    /// <param name="agents">Whether it has APT's agents, random too.</param>
    public ModelFiles Get(string name, bool agents = false)
    {
        string key = agents ? name + " APT" : name;
        if (made.TryGetValue(key, out ModelFiles? files)) return files;
        Directory.CreateDirectory(folder);
        VitConfig config = Shapes.Get(name);
        files = new ModelFiles(name, config, Path.Combine(folder, key.Replace('/', '-').Replace(' ', '-') + ".safetensors"),
            Path.Combine(folder, $"images-{config.Channels}x{config.ImageSize}.f32"));
        using (VisionTransformer vit = NewModel(config))
            ModelFile.Save(files.Weights, agents ? new AptModel(vit) : vit, new ModelStructure { Config = config });
        if (!agents)
        {
            using LoadedModel model = ModelFile.Load(files.Weights);
            OnnxFile.Write(files.Onnx, model, prune: false, opset: 23);
        }
        if (!made.Values.Any(m => m.Input == files.Input)) WriteImages(files.Input, config);
        return made[key] = files;
    }

    /// <summary>Xavier matrices; everything that starts at a constant gets noise, so that a forgotten bias would show.</summary>
    private static VisionTransformer NewModel(VitConfig config)
    {
        var vit = new VisionTransformer(config, seed: 1);
        var rng = new Rng(2);
        foreach (var (name, value) in vit.NamedParameters())
        {
            if (name == "head.weight")
            {
                Init.XavierUniform(value, ref rng);
            }
            else if (value.Rank == 1 || name.EndsWith("cls_token", StringComparison.Ordinal)
                || name.EndsWith("position_embeddings", StringComparison.Ordinal))
            {
                bool scale = name.Contains("norm.weight", StringComparison.Ordinal);
                foreach (ref float x in value.Span) x = (scale ? 1 : 0) + 0.05f * rng.NextNormal();
            }
        }
        return vit;
    }

    private static void WriteImages(string path, VitConfig config)
    {
        var rng = new Rng(3);
        var image = new float[config.Channels * config.ImageSize * config.ImageSize];
        using FileStream file = File.Create(path);
        for (int i = 0; i < Images; i++)
        {
            foreach (ref float x in image.AsSpan()) x = rng.NextNormal();
            file.Write(MemoryMarshal.AsBytes(image.AsSpan()));
        }
    }
}
