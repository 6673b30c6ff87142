using System.Diagnostics;
using Espalier.Data;
using Espalier.Inference;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Evaluation;

/// <summary>What a model said of one image.</summary>
/// <param name="Tokens">Tokens that entered block 0, then those left after each agent; empty for a network without tokens.</param>
/// <param name="Kept">Which tokens those are (0 the class token, then the patches); null where the pass did not prune.</param>
public sealed record ImageResult(int Index, int Label, int Prediction, float Loss, float[] Logits, int[] Tokens, int[][]? Kept);

/// <summary>The mean over a data set.</summary>
/// <param name="Loss">Cross-entropy.</param>
/// <param name="Tokens">Mean tokens that entered block 0, then left after each agent; empty for a network without tokens.</param>
/// <param name="MultiplyAdds">Mean an image, agents included.</param>
/// <param name="ImagesPerSecond">Of the model alone: decoding runs beside it and is not counted.</param>
public sealed record ModelEvaluation(int Images, double Accuracy, double Loss, double[] Tokens, double MultiplyAdds, double ImagesPerSecond);

/// <summary>Runs batches through a model and averages what comes out.</summary>
/// <param name="rule">What the agents drop; null for what the session says, <see cref="Pruning.None"/> to keep every token.</param>
public sealed class Evaluator(Session session, Pruning? rule = null)
{
    private readonly Pruning pruning = rule ?? session.Pruning;
    private readonly TokenTrace trace = new(indices: (rule ?? session.Pruning).IsActive);
    private readonly double dense = session.DenseMultiplyAdds;
    private readonly double[] tokens =
        new double[session.Tokens == 0 ? 0 : (rule ?? session.Pruning).IsActive ? 1 + session.AgentLayers.Count : 1];
    private float[] logits = [];
    private int images, correct;
    private double loss, multiplyAdds, seconds;

    /// <summary>The mean over all images so far.</summary>
    public ModelEvaluation Mean
    {
        get
        {
            double n = Math.Max(images, 1);
            return new ModelEvaluation(images, correct / n, loss / n, Array.ConvertAll(tokens, t => t / n), multiplyAdds / n,
                seconds > 0 ? images / seconds : 0);
        }
    }

    /// <param name="each">Called for every image, in order.</param>
    public void Run(Batch batch, Action<ImageResult>? each = null)
    {
        int classes = session.NumClasses;
        session.RequireLogits();
        if (logits.Length != batch.Count * session.ResultValues) logits = new float[batch.Count * session.ResultValues];
        long start = Stopwatch.GetTimestamp();
        session.Run(batch.Pixels, batch.Count, logits, pruning, trace);
        seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
        for (int b = 0; b < batch.Count; b++)
        {
            ImageResult result = One(batch, b, logits.AsSpan(b * classes, classes));
            images++;
            if (result.Prediction == result.Label) correct++;
            loss += result.Loss;
            for (int i = 0; i < tokens.Length; i++) tokens[i] += result.Tokens[i];
            multiplyAdds += tokens.Length == 0 ? dense : session.MultiplyAdds(result.Tokens);
            each?.Invoke(result);
        }
    }

    /// <summary>Runs every batch; whoever makes them takes them back.</summary>
    public ModelEvaluation Run(IEnumerable<Batch> batches, Action<ImageResult>? each = null)
    {
        foreach (Batch batch in batches) Run(batch, each);
        return Mean;
    }

    private ImageResult One(Batch batch, int b, ReadOnlySpan<float> given)
    {
        int label = batch.Labels[b];
        float[] row = given.ToArray();
        float max = TensorPrimitives.Max<float>(row), sum = 0;
        foreach (float x in row) sum += MathF.Exp(x - max);
        float loss = label < row.Length ? max + MathF.Log(sum) - row[label] : float.NaN;
        int[][]? kept = pruning.IsActive ? [.. Enumerable.Range(0, trace.Stages).Select(s => trace.Kept(b, s).ToArray())] : null;
        return new ImageResult(batch.Indices[b], label, TensorPrimitives.IndexOfMax<float>(row), loss, row,
            trace.Counts(b).ToArray(), kept);
    }
}
