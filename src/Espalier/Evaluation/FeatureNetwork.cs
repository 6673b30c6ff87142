using Espalier.Data;
using Espalier.Files;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier;

/// <summary>
/// A network up to what its head reads: features of pictures, for search, for clustering, for a classifier of one's own. A
/// network that has no head, such as an image tower of CLIP, gives what it gives.
/// </summary>
public sealed class FeatureNetwork : IDisposable
{
    private readonly Session session;
    private readonly ImagePipeline pipeline;

    private FeatureNetwork(Session session)
    {
        this.session = session;
        pipeline = ImagePipeline.Eval(session.Preprocessing);
    }

    /// <summary>Width of the features.</summary>
    public int Width => session.ResultValues;

    /// <summary>Opens a model file of any format, see <see cref="Model.Open"/>.</summary>
    /// <exception cref="EspalierException">The file is missing or damaged, or its network is unknown.</exception>
    public static FeatureNetwork Open(string path, OpenOptions? options = null, SessionOptions? session = null)
    {
        using Model model = Model.Open(path, options);
        if (model.Card.LogitScale is not null || model.Card.Features) return new FeatureNetwork(Session.Of(model, session));
        GraphValue features = ModelHead.Find(model.Graph, path)[0].Operands[0]!;
        Graph part = model.Graph.Between(model.Graph.Inputs, [features]);
        return new FeatureNetwork(new Session(part, session) { Preprocessing = model.Card.Preprocessing
            ?? Preprocessing.Half(model.ImageSize, model.Channels) });
    }

    /// <summary>Whether a file is of such a network and no pair of towers.</summary>
    internal static bool Is(string path)
    {
        if (!File.Exists(path)) return false;
        if (Onnx.OnnxNetwork.Is(path)) return true;
        using Formats.SafetensorsReader? file = Formats.CheckpointFile.OpenSafetensors(path);
        if (file is not null && ModelFormat.Kind(file.Metadata, path) is not null) return true;
        // CLIP's two towers have no layout of a single transformer.
        using ModelTensors tensors = ModelTensors.Open(path);
        return tensors.Layout != VitLayout.Own;
    }

    /// <summary>Features of a picture, not normalised.</summary>
    public float[] Encode(Image image) => EncodePrepared(Prepare(image));

    /// <summary>The picture as the network's input. Several threads may do this at once.</summary>
    internal float[] Prepare(Image image)
    {
        var input = new float[session.Channels * session.ImageSize * session.ImageSize];
        var none = new Rng(0);
        pipeline.Run(image, ref none, input);
        return input;
    }

    internal float[] EncodePrepared(float[] input)
    {
        var features = new float[Width];
        session.Run(input, 1, features);
        return features;
    }

    public void Dispose() => session.Dispose();
}
