using System.Numerics.Tensors;
using Espalier.Tensors;
using Tensor = Espalier.Tensors.Tensor;

namespace Espalier.Clip;

/// <summary>
/// Classes by their names alone (Radford et al., arXiv 2103.00020, section 3.1): of each the sentences of all templates are
/// encoded, made as long as one another, averaged, and made of length 1 again.
/// </summary>
public sealed class ZeroShot
{
    private readonly float[][] columns;
    private readonly float scale;

    private ZeroShot(IReadOnlyList<string> classes, float[][] columns, float scale) =>
        (Classes, this.columns, this.scale) = (classes, columns, scale);

    /// <summary>Their names.</summary>
    public IReadOnlyList<string> Classes { get; }

    /// <summary>[classes][embedding], each of length 1.</summary>
    public IReadOnlyList<float[]> Columns => columns;

    /// <param name="templates">Sentences with <c>{}</c> for the name.</param>
    /// <exception cref="EspalierException">There is no text tower, or a sentence is too long.</exception>
    public static ZeroShot Of(ClipModel model, IReadOnlyList<string> classes, IReadOnlyList<string> templates)
    {
        if (classes.Count == 0 || templates.Count == 0)
            throw new EspalierException("zero-shot labels are of classes and templates; some are missing");
        float[][] columns = [.. classes.Select(name =>
            Mean(model.EncodeText([.. templates.Select(t => PromptTemplates.Fill(t, name))])))];
        return new ZeroShot(classes, columns, model.LogitScale);
    }

    /// <summary>The mean of vectors of length 1, itself of length 1.</summary>
    /// <param name="vectors">Of any length.</param>
    public static float[] Mean(IReadOnlyList<float[]> vectors)
    {
        var sum = new float[vectors[0].Length];
        foreach (float[] v in vectors) TensorPrimitives.Add(sum, ClipModel.Normalised(v), sum);
        return ClipModel.Normalised(sum);
    }

    /// <summary>How probable each class is.</summary>
    /// <param name="features">[embedding] of an image.</param>
    public float[] Probabilities(float[] features)
    {
        float[] f = ClipModel.Normalised(features), shares = [.. columns.Select(c => scale * TensorPrimitives.Dot<float>(f, c))];
        TensorPrimitives.SoftMax<float>(shares, shares);
        return shares;
    }

    /// <summary>
    /// Makes a classifier of an image tower: its features, of length 1, times the classes and the scale. It needs no text tower
    /// and is a model as any other: for <c>predict</c>, <c>compress</c>, ONNX.
    /// </summary>
    /// <param name="tower">Is changed.</param>
    public void MakeClassifier(Model tower) => AddHead(tower, x => F.Div(x, F.Split(F.RowNorm(x), 0, -1, 1)),
        [.. columns.SelectMany(c => c.Select(v => scale * v))], null, Classes);

    /// <summary>Puts a linear layer behind a tower's features.</summary>
    /// <param name="weights">[classes, width].</param>
    internal static void AddHead(Model tower, Func<Tensor, Tensor> before, float[] weights, float[]? bias,
        IReadOnlyList<string> classes)
    {
        GraphValue features = tower.Graph.Outputs[0];
        Tensor w = Tensor.Parameter(new Shape(classes.Count, features.Shape[1]));
        weights.CopyTo(w.Span);
        Tensor? b = bias is null ? null : Tensor.Parameter(new Shape(classes.Count));
        bias?.CopyTo(b!.Span);
        List<(string, Tensor)> added = [("head.weight", w)];
        if (b is not null) added.Add(("head.bias", b));
        tower.Graph.InsertAfter(features, x => F.Linear(before(x), w, b), added);
        tower.Card = tower.Card with { Classes = classes, LogitScale = null };
    }
}
