using System.Globalization;
using System.Numerics.Tensors;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Evaluation;

/// <summary>What a model says of one picture.</summary>
/// <param name="Probabilities">[classes].</param>
/// <param name="Tokens">Tokens that entered block 0, then those left after each agent; empty without tokens.</param>
/// <param name="Kept">Which tokens those are, for each agent; empty for a model without agents.</param>
/// <param name="ClassNames">In the order of the probabilities; null where nobody knows them.</param>
public sealed record Prediction(float[] Probabilities, int[] Tokens, int[][] Kept, IReadOnlyList<string>? ClassNames)
{
    /// <summary>Classes, the most probable first.</summary>
    public IEnumerable<int> Ranking => Enumerable.Range(0, Probabilities.Length).OrderByDescending(c => Probabilities[c]);

    /// <summary>The most probable class.</summary>
    public string Label => Name(Ranking.First());

    /// <summary>A class's name, or "class 7" where nobody knows it.</summary>
    public string Name(int c) => ClassNames is { } names && c < names.Count ? names[c]
        : "class " + c.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Runs single pictures through a model, prepared as it wants them.</summary>
public sealed class Predictor(Session model)
{
    private readonly ImagePipeline pipeline = ImagePipeline.Eval(model.Preprocessing);
    private readonly TokenTrace trace = new(indices: true);

    public Prediction Run(Image image)
    {
        var input = new float[model.Channels * model.ImageSize * model.ImageSize];
        var rng = new Rng(0);
        pipeline.Run(image, ref rng, input);
        model.RequireLogits();
        var results = new float[model.ResultValues];
        model.Run(input, 1, results, model.Pruning, trace);
        float[] probabilities = results[..model.NumClasses];
        TensorPrimitives.SoftMax(probabilities, probabilities);
        int[][] kept = [.. Enumerable.Range(1, Math.Max(0, trace.Stages - 1)).Select(stage => trace.Kept(0, stage).ToArray())];
        return new Prediction(probabilities, trace.Counts(0).ToArray(), kept, model.ClassNames);
    }
}

/// <summary>From a model to what it says.</summary>
public static class ModelPrediction
{
    /// <summary>Classifies a picture file. For more than one make a session, and a <see cref="Predictor"/> on it.</summary>
    /// <exception cref="EspalierException">It cannot be read.</exception>
    public static Prediction Predict(this Model model, string path)
    {
        using Session session = model.Session();
        return new Predictor(session).Run(ImageFile.Read(path, upright: true));
    }
}
