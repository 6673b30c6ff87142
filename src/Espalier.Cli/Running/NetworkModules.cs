using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Compression.Apt;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Nn;

namespace Espalier.Cli.Running;

/// <summary>A network's modules: a checkpoint's, or new ones of the shape that the options name.</summary>
/// <param name="Apt">The same with its agents; null where it has none.</param>
/// <param name="Dataset">The data set that it was trained on, where it is known.</param>
/// <param name="Preprocessing">How images become its input.</param>
internal sealed record NetworkModules(ImageClassifier Net, AptModel? Apt, string? Dataset, Preprocessing Preprocessing)
    : IDisposable
{
    /// <param name="what">What the verb wants a network for, for the message.</param>
    public static NetworkModules Open(ParseResult parse, string what)
    {
        if (parse.GetValue(Shared.Model) is not { } path)
        {
            ImageClassifier net = ModelChoice.Create(parse, what);
            return new NetworkModules(net, null, null,
                PreprocessChoice.Of(parse, net.ImageSize, net.Channels, PreprocessingDefaults.For(net)));
        }
        if (Checkpoints.IsCnn(parse, path))
        {
            LoadedCnn cnn = Checkpoints.LoadCnn(parse, path);
            return new NetworkModules(cnn.Net, null, cnn.Structure.Dataset, cnn.Structure.Preprocessing!);
        }
        LoadedModel model = Checkpoints.Load(parse, path);
        return new NetworkModules(model.Vit, model.Apt, model.Structure.Dataset, model.Structure.Preprocessing!);
    }

    public void Dispose() => (Apt ?? (Module)Net).Dispose();
}
