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

/// <summary>Runs pictures through a model, prepared as it wants them.</summary>
public sealed class Predictor(Session model)
{
    private readonly ImagePipeline pipeline = ImagePipeline.Eval(model.Preprocessing);
    private readonly TokenTrace trace = new(indices: true);

    /// <summary>Numbers of a prepared picture.</summary>
    internal int InputValues => model.Channels * model.ImageSize * model.ImageSize;

    public Prediction Run(Image image)
    {
        var input = new float[InputValues];
        Prepare(image, input);
        return Run(input, 1, model.Pruning)[0];
    }

    /// <summary>Any number of threads may prepare pictures at once.</summary>
    /// <param name="input">[C, S, S], written.</param>
    internal void Prepare(Image image, Span<float> input)
    {
        var rng = new Rng(0);
        pipeline.Run(image, ref rng, input);
    }

    /// <summary>One thread at a time.</summary>
    /// <param name="inputs">[count, C, S, S], prepared.</param>
    internal Prediction[] Run(ReadOnlySpan<float> inputs, int count, Pruning pruning)
    {
        model.RequireLogits();
        var results = new float[count * model.ResultValues];
        model.Run(inputs, count, results, pruning, trace);
        var all = new Prediction[count];
        for (int i = 0; i < count; i++)
        {
            float[] probabilities = results.AsSpan(i * model.NumClasses, model.NumClasses).ToArray();
            TensorPrimitives.SoftMax(probabilities, probabilities);
            int image = i;
            int[][] kept = [.. Enumerable.Range(1, Math.Max(0, trace.Stages - 1)).Select(stage => trace.Kept(image, stage).ToArray())];
            all[i] = new Prediction(probabilities, trace.Counts(i).ToArray(), kept, model.ClassNames);
        }
        return all;
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
