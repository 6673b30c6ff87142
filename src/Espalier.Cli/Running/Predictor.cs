using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>What a model says of one picture.</summary>
/// <param name="Probabilities">[classes].</param>
/// <param name="Tokens">Tokens that entered block 0, then those left after each agent.</param>
/// <param name="Kept">Which tokens those are, for each agent; empty for a model without agents.</param>
internal sealed record ImagePrediction(float[] Probabilities, int[] Tokens, int[][] Kept)
{
    /// <summary>Classes, the most probable first.</summary>
    public IEnumerable<int> Ranking => Enumerable.Range(0, Probabilities.Length).OrderByDescending(c => Probabilities[c]);
}

/// <summary>Runs single pictures through a model.</summary>
internal sealed class Predictor(LoadedModel model)
{
    private readonly ImagePipeline pipeline = ImagePipeline.Eval(model.Vit.Config.ImageSize, model.Vit.Config.Channels);

    public ImagePrediction Run(Image image)
    {
        VitConfig c = model.Vit.Config;
        using var scope = new Scope();
        var input = new Tensor(new Shape(1, c.Channels, c.ImageSize, c.ImageSize));
        var rng = new Rng(0);
        pipeline.Run(image, ref rng, input.Span);
        if (model.Apt is null) return new ImagePrediction(F.Softmax(model.Vit.Forward(input)).ToArray(), [c.Tokens], []);
        AptOutput output = model.Apt.Forward(input);
        return new ImagePrediction(F.Softmax(output.Logits).ToArray(), output.TokensOf(0), output.KeptOf(0)[1..]);
    }
}
