using Espalier.Data;
using Espalier.Inference;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Peers;

/// <summary>What the model in models/ says of the test images of Fashion-MNIST.</summary>
internal static class FashionAnswers
{
    private const int BatchSize = 100;

    /// <summary>The most likely class of each test image.</summary>
    /// <param name="pruned">Whether the agents act, at the model's own threshold.</param>
    public static int[] Of(BenchSettings settings, Precision precision, bool pruned)
    {
        string file = Path.Combine(settings.Scripts, "..", "..", "models", "apt-fashion-mnist.safetensors");
        var options = new SessionOptions { Precision = precision, Pruning = pruned ? null : Pruning.None };
        using Session session = Session.Open(file, options: options);
        IImageDataset test = Datasets.Open("fashion-mnist", null).Test;
        using var images = new DataLoader(test, ImagePipeline.Eval(session.ImageSize, session.Channels), BatchSize);
        var answers = new List<int>();
        var logits = new float[BatchSize * session.NumClasses];
        foreach (Batch batch in images.Once())
        {
            Span<float> result = logits.AsSpan(0, batch.Count * session.NumClasses);
            session.Run(batch.Pixels, batch.Count, result);
            for (int i = 0; i < batch.Count; i++)
                answers.Add(TensorPrimitives.IndexOfMax<float>(result.Slice(i * session.NumClasses, session.NumClasses)));
        }
        return [.. answers];
    }
}
