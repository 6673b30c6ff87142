using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Compression;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Nn;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Models;

/// <summary>What the file of a convolutional network says of it, in its metadata under <c>espalier</c>.</summary>
public sealed record CnnStructure
{
    internal const string KnownArchitecture = "cnn";

    public int Format { get; init; } = 1;

    public string Architecture { get; init; } = KnownArchitecture;

    /// <summary>The shape that it was built with and the blocks it lost; the tensors' own shapes tell which channels are left.</summary>
    public required CnnConfig Config { get; init; }

    /// <summary>Names of the classes, in the order of the logits.</summary>
    public string[]? ClassNames { get; init; }

    /// <summary>The data set that it was trained on.</summary>
    public string? Dataset { get; init; }

    /// <summary>How images become its input; null for the preset <c>half</c>.</summary>
    public Preprocessing? Preprocessing { get; init; }

    internal string ToJson() => JsonSerializer.Serialize(this, CnnJson.Default.CnnStructure);
}

/// <summary>A convolutional network read from a file.</summary>
public sealed record LoadedCnn(Cnn Net, CnnStructure Structure) : IDisposable
{
    public void Dispose() => Net.Dispose();
}

/// <summary>
/// Files of convolutional networks: safetensors with a structure block. A network with channels removed needs nothing else: its
/// tensors' shapes say what is left.
/// </summary>
public static class CnnFile
{
    /// <summary>Values of a network, in multiples of those that pruning left, that a file may describe: a twentieth along both axes
    /// of its weights.</summary>
    private const int MostRemoved = 400;

    /// <summary>Values that any file may describe: more than the largest published network has.</summary>
    private const long AlwaysAllowed = 1L << 28;

    /// <summary>Whether a file's structure block is that of a convolutional network; reads no tensor.</summary>
    /// <exception cref="EspalierException">The file is missing or damaged.</exception>
    public static bool IsCnn(string path)
    {
        using SafetensorsReader? file = CheckpointFile.OpenSafetensors(path);
        if (file is null || !file.Metadata.TryGetValue(ModelStructure.MetadataKey, out string? json)) return false;
        return Parse(json, path, s => JsonSerializer.Deserialize(s, CnnJson.Default.Kind))?.Architecture
            == CnnStructure.KnownArchitecture;
    }

    /// <summary>Writes a network with its structure block; the file appears whole or not at all.</summary>
    public static void Save(string path, Cnn net, CnnStructure structure)
    {
        string json = (structure with { Config = net.Config }).ToJson();
        var arrays = net.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray()));
        Safetensors.Write(path, arrays, new Dictionary<string, string> { [ModelStructure.MetadataKey] = json });
    }

    /// <summary>Reads a finished network: every tensor must be there, and they must fit together.</summary>
    /// <param name="config">The shape, where the file has no structure block, as published weights have none.</param>
    /// <exception cref="EspalierException">The file cannot be read, or is of another network.</exception>
    public static LoadedCnn Load(string path, CnnConfig? config = null)
    {
        using ModelTensors file = ModelTensors.Open(path);
        CnnStructure structure = Structure(file, config);
        using InitSkip _ = Init.Skip();
        Cnn net = Build(structure.Config, file);
        try
        {
            Fill(net, file);
            net.Training = false;
            TryOut(net, path);
            return new LoadedCnn(net, structure);
        }
        catch
        {
            net.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The whole network, before tensors take the file's shapes. Pruning may have left little of it, but not nothing: what the
    /// structure block asks for is held against what the file has.
    /// </summary>
    private static Cnn Build(CnnConfig config, ModelTensors file)
    {
        long most = Math.Max(file.Count * MostRemoved, AlwaysAllowed);
        using var limit = new SizeLimit(most, $"{file.Source}: its structure block describes a network of more than {most} values, "
            + $"but the file holds {file.Count}; it is damaged");
        return CnnPresets.Create(config, 0, file.Source);
    }

    internal static CnnStructure Structure(ModelTensors file, CnnConfig? config)
    {
        if (file.Metadata.TryGetValue(ModelStructure.MetadataKey, out string? json))
        {
            Kind? kind = Parse(json, file.Source, s => JsonSerializer.Deserialize(s, CnnJson.Default.Kind));
            if (kind is not { Format: 1, Architecture: CnnStructure.KnownArchitecture })
                throw new EspalierException($"{file.Source}: its structure block has format {kind?.Format} and architecture "
                    + $"'{kind?.Architecture}'; this wants a convolutional network ('{CnnStructure.KnownArchitecture}', format 1)");
            CnnStructure block = Parse(json, file.Source, s => JsonSerializer.Deserialize(s, CnnJson.Default.CnnStructure))!;
            if (block.Config is null) throw new EspalierException($"{file.Source}: its structure block has no config");
            block.Config.Checked(file.Source);
            if (block.ClassNames is not null && Array.IndexOf(block.ClassNames, null) >= 0)
                throw new EspalierException($"{file.Source}: classNames has a class without a name");
            if (block.ClassNames is not null && block.ClassNames.Length != block.Config.NumClasses)
                throw new EspalierException($"{file.Source}: classNames has {block.ClassNames.Length} names for "
                    + $"{block.Config.NumClasses} classes");
            return block with
            {
                Preprocessing = PreprocessingDefaults.OfBlock(
                    block.Preprocessing, block.Config.ImageSize, block.Config.Channels, file.Source),
            };
        }
        return config is not null
            ? new CnnStructure { Config = config.Checked(file.Source), Preprocessing = PreprocessingDefaults.For(config) }
            : throw new EspalierException(
            $"{file.Source}: says nothing of the network's shape; give it with --model-type NAME");
    }

    /// <summary>Every tensor takes the file's shape, which may be smaller along any axis but never larger.</summary>
    private static void Fill(Cnn net, ModelTensors file)
    {
        StoredScatters.Add(net, file);
        Dictionary<string, float[]> lists = PublishedLists.Read(net, file);
        try
        {
            var shapes = file.Shapes.ToDictionary(s => s.Key, s => new Shape(s.Value));
            foreach (var (name, list) in lists) shapes[name] = new Shape(list.Length);
            ModelShapes.Apply(net, shapes);
        }
        catch (Exception e) when (e is EspalierException or ArgumentException)
        {
            throw new EspalierException($"{file.Source}: {e.Message.ReplaceLineEndings(" ")}; it is not of {net.Config.Network}", e);
        }
        foreach (var (name, tensor) in net.StateDict())
        {
            if (lists.TryGetValue(name, out float[]? list))
            {
                list.CopyTo(tensor.Span);
                continue;
            }
            if (!file.Shapes.ContainsKey(name))
            {
                throw new EspalierException($"{file.Source}: lacks the network's tensor {name}; is it a checkpoint of "
                    + $"{net.Config.Network}?");
            }
            file.Read(name, tensor.Span);
            if (!TensorPrimitives.IsFiniteAll<float>(tensor.Span))
                throw new EspalierException($"{file.Source}: {name} holds NaN or infinite values; the file is damaged or its "
                    + "training diverged");
        }
    }

    /// <summary>Shapes that were cut must agree with one another: one image shows it.</summary>
    private static void TryOut(Cnn net, string path)
    {
        using var scope = new Scope();
        try
        {
            Tensor logits = net.Forward(Tensor.Zeros(new Shape(1, net.Channels, net.ImageSize, net.ImageSize)));
            if (logits.Shape[1] != net.NumClasses)
                throw new EspalierException($"{path}: gives {logits.Shape[1]} logits for {net.NumClasses} classes; it is damaged");
        }
        catch (ArgumentException e)
        {
            throw new EspalierException($"{path}: its tensors do not fit together: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    private static T? Parse<T>(string json, string source, Func<string, T?> read)
    {
        try
        {
            return read(json);
        }
        catch (JsonException e)
        {
            throw new EspalierException($"{source}: its structure block is damaged: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    internal sealed record Kind(int Format, string? Architecture);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(CnnStructure))]
[JsonSerializable(typeof(CnnFile.Kind))]
internal sealed partial class CnnJson : JsonSerializerContext;
