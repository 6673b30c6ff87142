using System.Diagnostics;
using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Models;

/// <summary>What a model said of one image.</summary>
/// <param name="Tokens">Tokens that entered block 0, then those left after each agent.</param>
/// <param name="Kept">Which tokens those are (0 the class token, then the patches); null where the pass did not prune.</param>
public sealed record ImageResult(int Index, int Label, int Prediction, float Loss, float[] Logits, int[] Tokens, int[][]? Kept);

/// <summary>The mean over a data set.</summary>
/// <param name="Loss">Cross-entropy.</param>
/// <param name="Tokens">Mean tokens that entered block 0, then left after each agent.</param>
/// <param name="MultiplyAdds">Mean an image, agents included.</param>
/// <param name="ImagesPerSecond">Of the model alone: decoding runs beside it and is not counted.</param>
public sealed record Evaluation(int Images, double Accuracy, double Loss, double[] Tokens, double MultiplyAdds, double ImagesPerSecond);

/// <summary>Runs batches through a model in evaluation mode and averages what comes out.</summary>
/// <param name="apt">The agents, for a pruned pass; null for one that keeps every token.</param>
public sealed class Evaluator(VisionTransformer vit, AptModel? apt)
{
    private readonly double[] tokens = new double[1 + (apt?.Layers.Count ?? 0)];
    private int images, correct;
    private double loss, multiplyAdds, seconds;

    /// <summary>The mean over all images so far.</summary>
    public Evaluation Mean
    {
        get
        {
            double n = Math.Max(images, 1);
            return new Evaluation(images, correct / n, loss / n, Array.ConvertAll(tokens, t => t / n), multiplyAdds / n,
                seconds > 0 ? images / seconds : 0);
        }
    }

    /// <param name="each">Called for every image, in order.</param>
    public void Run(Batch batch, Action<ImageResult>? each = null)
    {
        vit.Training = false;
        using var scope = new Scope();
        Tensor input = batch.ToTensor(vit.Config);
        long start = Stopwatch.GetTimestamp();
        AptOutput? pruned = apt?.Forward(input);
        Tensor logits = pruned?.Logits ?? vit.Forward(input);
        seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
        for (int b = 0; b < batch.Count; b++)
        {
            ImageResult result = One(batch, b, logits, pruned, vit.Config.Tokens);
            images++;
            if (result.Prediction == result.Label) correct++;
            loss += result.Loss;
            for (int i = 0; i < tokens.Length; i++) tokens[i] += result.Tokens[i];
            multiplyAdds += apt?.MultiplyAdds(result.Tokens) ?? VitCost.Dense(vit.Config);
            each?.Invoke(result);
        }
    }

    /// <summary>Runs every batch; whoever makes them takes them back.</summary>
    public Evaluation Run(IEnumerable<Batch> batches, Action<ImageResult>? each = null)
    {
        foreach (Batch batch in batches) Run(batch, each);
        return Mean;
    }

    private static ImageResult One(Batch batch, int b, Tensor logits, AptOutput? pruned, int tokens)
    {
        int classes = logits.Shape[1], label = batch.Labels[b];
        float[] row = logits.Span.Slice(b * classes, classes).ToArray();
        float max = TensorPrimitives.Max<float>(row), sum = 0;
        foreach (float x in row) sum += MathF.Exp(x - max);
        float loss = label < classes ? max + MathF.Log(sum) - row[label] : float.NaN;
        return new ImageResult(batch.Indices[b], label, TensorPrimitives.IndexOfMax<float>(row), loss, row,
            pruned?.TokensOf(b) ?? [tokens], pruned?.KeptOf(b));
    }
}
