using Espalier.Files;
using Espalier.Models;
using Espalier.Onnx;

namespace Espalier.Server;

/// <summary>Weights as others publish them, which do not say which network they are of: other verbs are told its name, the service
/// is not.</summary>
internal static class UnnamedFile
{
    /// <summary>What to do with such a file; null where it is none.</summary>
    /// <exception cref="EspalierException">It is damaged.</exception>
    public static string? Advice(string path)
    {
        if (!File.Exists(path) || OnnxNetwork.Is(path)) return null;
        using ModelTensors file = ModelTensors.Open(path);
        bool says = ModelFormat.Kind(file.Metadata, path) is not null
            || ClipLayout.Of(file, () => new ClipBeside(path)) is not null || VitTensors.Sizes(file) is not null;
        return says ? null : $"{path}: does not say which network it is of{CnnNames.Hint(file.Shapes)}, and is no CLIP whose names are "
            + $"known; serve what this writes of it: espalier export --onnx FILE.onnx --model {path} --model-type NAME";
    }
}
