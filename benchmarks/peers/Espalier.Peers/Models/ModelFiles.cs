using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>One model in the forms that the peers read.</summary>
/// <param name="Channels">Of the images, <paramref name="ImageSize"/> being their sides.</param>
/// <param name="Weights">safetensors.</param>
/// <param name="Input">Raw little-endian floats [<see cref="ModelFolder.Images"/>, C, S, S].</param>
internal abstract record ModelFiles(string Name, int Channels, int ImageSize, string Weights, string Input)
{
    public string Onnx => Path.ChangeExtension(Weights, ".onnx");
}

/// <summary>A vision transformer.</summary>
internal sealed record VitFiles(string Name, VitConfig Config, string Weights, string Input)
    : ModelFiles(Name, Config.Channels, Config.ImageSize, Weights, Input)
{
    /// <summary>Our 8-bit export; written at the first call.</summary>
    public string OnnxInt8()
    {
        string path = Path.ChangeExtension(Weights, ".int8.onnx");
        using Model model = Model.Open(Weights);
        model.ExportOnnx(path, new OnnxOptions { Precision = Precision.Int8 });
        return path;
    }
}

/// <summary>A tower of CLIP. Of texts there are no channels, and the size is the ids of a text.</summary>
internal sealed record ClipFiles(string Name, int Channels, int ImageSize, string Weights, string Input)
    : ModelFiles(Name, Channels, ImageSize, Weights, Input);

/// <summary>A convolutional network.</summary>
/// <param name="MultiplyAdds">Of one image.</param>
internal sealed record CnnFiles(string Name, CnnConfig Config, long MultiplyAdds, string Weights, string Input)
    : ModelFiles(Name, Config.Channels, Config.ImageSize, Weights, Input);
