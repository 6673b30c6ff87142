using System.Globalization;
using System.Text.Json;
using Espalier.Compression.Apt;
using Espalier.Formats.Onnx;
using Espalier.Imaging;
using Espalier.Models.Onnx;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>What an ONNX file is like that was written.</summary>
/// <param name="Inputs">Such as "images [N, 3, 224, 224]".</param>
/// <param name="Opset">Version of the standard operators.</param>
public sealed record OnnxSummary(IReadOnlyList<string> Inputs, IReadOnlyList<string> Outputs, int Opset, long Bytes);

/// <summary>Writes models as ONNX files, for every runtime that reads those (onnx.ai).</summary>
public static class OnnxFile
{
    /// <summary>
    /// The versions of ONNX's operators that files can be written in: 17 (2022), the first with LayerNormalization, for every
    /// runtime; 23 (2025), with Attention as one operator, for newer ones.
    /// </summary>
    public static readonly IReadOnlyList<int> Opsets = [17, 23];

    /// <summary>
    /// Writes the file; it appears whole or not at all, and equal models give equal bytes. Input "images" [N, C, S, S], output
    /// "logits" [N, classes]. A pruned graph is for one image, drops its tokens as <see cref="AptModel.Forward"/> does, and
    /// has two outputs more: "tokens" [agents], how many are left after each agent, and "kept" [tokens left], which ones.
    /// </summary>
    /// <param name="prune">Whether the agents act, at the model's threshold; else every token is kept.</param>
    /// <param name="precision">Of the products in the blocks; fp32 or int8. All else, the agents too, is float32.</param>
    /// <param name="opset">One of <see cref="Opsets"/>.</param>
    /// <exception cref="EspalierException">No agents to prune with, too large, or the file cannot be written.</exception>
    public static OnnxSummary Write(
        string path, LoadedModel model, bool prune, Precision precision = Precision.Fp32, int opset = 17)
    {
        CheckOpset(path, opset);
        OnnxLinear linear = precision switch
        {
            Precision.Fp32 => new OnnxLinearFp32(),
            Precision.Int8 => new OnnxLinearInt8(),
            _ => throw new EspalierException($"{path}: an ONNX file is written in fp32 or int8, not {precision}"),
        };
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();      // of what is computed for the file
        VitConfig c = model.Vit.Config;
        var graph = new OnnxGraph("vit", opset);
        var weights = new OnnxWeights(graph, model.Module);
        var vit = new VitOnnx(graph, weights, c, linear, batch: !prune);
        Declare(graph, prune ? "1" : "N", c.Channels, c.ImageSize, c.NumClasses);
        if (prune)
        {
            AptModel apt = model.Apt
                ?? throw new EspalierException($"{path}: the model has no agents, so it cannot be written pruned, only dense");
            graph.Outputs.Add(new OnnxValue("tokens", OnnxType.Int64, [Text(apt.Agents.Count)]));
            graph.Outputs.Add(new OnnxValue("kept", OnnxType.Int64, ["K"]));
            new AptOnnx(graph, apt, vit).Add("images");
        }
        else
        {
            string x = vit.Embed("images");
            for (int i = 0; i < c.NumLayers; i++) x = vit.Block(i, x, prefixOnly: i == c.NumLayers - 1);
            vit.Classify(x);
        }
        ModelStructure structure = model.Structure with { Threshold = prune ? model.Apt?.Threshold : null };
        return Finish(path, graph,
            Metadata(structure.ToJson(), c.ImageSize, c.Channels, structure.Preprocessing, structure.ClassNames));
    }

    /// <summary>
    /// Writes a convolutional network, whole or with channels removed, as the other overload does a transformer: input "images"
    /// [N, C, S, S], output "logits" [N, classes]. Batch norms are operators of their own.
    /// </summary>
    /// <param name="opset">One of <see cref="Opsets"/>.</param>
    /// <exception cref="EspalierException">It has an op without counterpart, is too large, or cannot be written.</exception>
    public static OnnxSummary Write(string path, LoadedCnn model, int opset = 17)
    {
        CheckOpset(path, opset);
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();      // of the pass that the graph is made from
        Cnn net = model.Net;
        var graph = new OnnxGraph(net.Config.Network, opset);
        Declare(graph, "N", net.Channels, net.ImageSize, net.NumClasses);
        CnnOnnx.Add(graph, net);
        CnnStructure structure = model.Structure with { Config = net.Config };
        return Finish(path, graph,
            Metadata(structure.ToJson(), net.ImageSize, net.Channels, structure.Preprocessing, structure.ClassNames));
    }

    private static void CheckOpset(string path, int opset)
    {
        if (!Opsets.Contains(opset))
            throw new EspalierException($"{path}: an ONNX file is written in opset {string.Join(" or ", Opsets)}, not {opset}");
    }

    /// <summary>"images" and "logits".</summary>
    private static void Declare(OnnxGraph graph, string images, int channels, int size, int classes)
    {
        graph.Inputs.Add(new OnnxValue("images", OnnxType.Float, [images, Text(channels), Text(size), Text(size)]));
        graph.Outputs.Add(new OnnxValue("logits", OnnxType.Float, [images, Text(classes)]));
    }

    private static OnnxSummary Finish(string path, OnnxGraph graph, List<KeyValuePair<string, string>> metadata)
    {
        new OnnxModel(graph, metadata).Write(path);
        return new OnnxSummary([.. graph.Inputs.Select(v => v.ToString())], [.. graph.Outputs.Select(v => v.ToString())],
            graph.Opset, new FileInfo(path).Length);
    }

    /// <summary>The structure block, and what whoever prepares images must know, each under a name of its own.</summary>
    private static List<KeyValuePair<string, string>> Metadata(string structure, int imageSize, int channels,
        Preprocessing? preprocessing, string[]? classNames)
    {
        List<KeyValuePair<string, string>> metadata =
        [
            new(ModelStructure.MetadataKey, structure),
            new("input_size", Text(imageSize)),
            new("mean", EachChannel(preprocessing?.Mean)),
            new("std", EachChannel(preprocessing?.Std)),
        ];
        if (classNames is not null)
            metadata.Add(new("class_names", JsonSerializer.Serialize(classNames, StructureJson.Default.StringArray)));
        return metadata;

        // Of samples from 0 to 1, whatever the network's own scale is; 0.5 where nothing is said, as everywhere.
        string EachChannel(IReadOnlyList<float>? numbers)
        {
            double scale = (preprocessing?.Divisor ?? 255) / 255.0;
            return "[" + string.Join(',', Enumerable.Range(0, channels).Select(c =>
            {
                float x = numbers is null ? 0.5f : numbers.Count == 1 ? numbers[0] : numbers[c];
                return ((float)(x * scale)).ToString(CultureInfo.InvariantCulture);
            })) + "]";
        }
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
