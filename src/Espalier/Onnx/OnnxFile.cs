using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>How a network is written as an ONNX file.</summary>
public sealed record OnnxOptions
{
    /// <summary>Version of ONNX's operators, one of <see cref="OnnxFile.Opsets"/>.</summary>
    public int Opset { get; init; } = 17;

    /// <summary>Of the linear layers of a transformer's blocks; fp32 or int8. All else, agents too, is float32.</summary>
    public Precision Precision { get; init; } = Precision.Fp32;

    /// <summary>Whether token rows are dropped as the network says; else all are kept.</summary>
    public bool Prune { get; init; } = true;

    /// <summary>What the file calls its graph; null for the model's architecture, or what the file that it was
    /// read from calls it.</summary>
    public string? Name { get; init; }

    /// <summary>What the file calls the network's outputs; null for "logits", or the graph's names where there are
    /// several.</summary>
    public IReadOnlyList<string>? Outputs { get; init; }
}

/// <summary>What an ONNX file is like that was written.</summary>
/// <param name="Inputs">Such as "images [N, 3, 224, 224]".</param>
/// <param name="Opset">Version of the standard operators.</param>
public sealed record OnnxSummary(IReadOnlyList<string> Inputs, IReadOnlyList<string> Outputs, int Opset, long Bytes);

/// <summary>Writes networks as ONNX files, for every runtime that reads those (onnx.ai).</summary>
public static class OnnxFile
{
    /// <summary>
    /// The versions of ONNX's operators that files can be written in: 17 (2022), the first with LayerNormalization, for every
    /// runtime; 23 (2025), with Attention as one operator, for newer ones.
    /// </summary>
    public static readonly IReadOnlyList<int> Opsets = [17, 23];

    /// <summary>
    /// Writes the file; it appears whole or not at all, and equal networks give equal bytes. Inputs have the graph's names, a
    /// single output is "logits"; axis 0 of all is any number of images, token rows are [N, T, D]. Where an image decides how
    /// many rows it keeps, the file is for one image and has two outputs more: "tokens" [decisions], how many rows are left after
    /// each, and "kept" [rows left], which ones.
    /// </summary>
    /// <param name="metadata">Strings for whoever reads the file.</param>
    /// <exception cref="EspalierException">The network has an op that ONNX has nothing for, is for one number of images only, is
    /// too large, or the file cannot be written.</exception>
    public static OnnxSummary Write(string path, Graph graph, OnnxOptions? options = null,
        IReadOnlyList<KeyValuePair<string, string>>? metadata = null)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();      // of what is computed for the file
        (OnnxGraph file, OnnxModel model) = Made(path, graph, options ?? new OnnxOptions(), metadata ?? []);
        model.Write(path);
        return new OnnxSummary([.. file.Inputs.Select(v => v.ToString())], [.. file.Outputs.Select(v => v.ToString())],
            file.Opset, new FileInfo(path).Length);
    }

    private static (OnnxGraph File, OnnxModel Model) Made(string path, Graph graph, OnnxOptions options,
        IReadOnlyList<KeyValuePair<string, string>> metadata)
    {
        if (!Opsets.Contains(options.Opset))
            throw new EspalierException(
                $"{path}: an ONNX file is written in opset {string.Join(" or ", Opsets)}, not {options.Opset}");
        if (options.Precision is not (Precision.Fp32 or Precision.Int8))
            throw new EspalierException($"{path}: an ONNX file is written in fp32 or int8, not {options.Precision}");
        OnnxGraph file = OnnxWriter.Write(graph, options);
        return (file, new OnnxModel(file, metadata));
    }

    /// <summary>Writes a model with its card, as the other overload does a graph.</summary>
    public static OnnxSummary ExportOnnx(this Model model, string path, OnnxOptions? options = null) =>
        Write(path, model.Graph, Of(model, options), OnnxMetadata.Of(model));

    /// <summary>Bytes that a model's file would have; nothing is written.</summary>
    /// <param name="path">For messages.</param>
    /// <exception cref="EspalierException">The network cannot be written, whatever its size.</exception>
    internal static long Length(Model model, string path)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        return Made(path, model.Graph, Of(model, null), OnnxMetadata.Of(model)).Model.Length;
    }

    /// <summary>Says before any work whether its result can be written: nothing where the path is none of ONNX.</summary>
    /// <param name="left">The share of the model's bytes that will be left, as far as is known.</param>
    /// <exception cref="EspalierException">It cannot, or would be too large.</exception>
    internal static void RequireWritable(Model model, string path, double left = 1)
    {
        if (OnnxNetwork.Is(path)) OnnxModel.RequireFits(path, (long)(left * Length(model, path)));
    }

    private static OnnxOptions Of(Model model, OnnxOptions? options)
    {
        options ??= new OnnxOptions();
        string? name = options.Name ?? model.Card.Architecture ?? OnnxNetwork.GraphName(model.Card);
        return options with { Name = name, Outputs = options.Outputs ?? model.Card.Outputs };
    }
}
