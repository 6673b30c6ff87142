using System.Globalization;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Models;

/// <summary>Plain supervised training of a vision transformer: cross-entropy with labels, nothing pruned.</summary>
public sealed class ClassificationTask : ITrainingTask
{
    private readonly VisionTransformer vit;
    private readonly ModelStructure structure;
    private readonly float dropout, labelSmoothing;

    public ClassificationTask(VisionTransformer vit, ModelStructure structure, float dropout = 0, float labelSmoothing = 0)
    {
        (this.vit, this.structure, this.dropout, this.labelSmoothing) = (vit, structure, dropout, labelSmoothing);
        vit.DropoutRate = dropout;
    }

    public Module Model => vit;

    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("Dropout", dropout.ToString(CultureInfo.InvariantCulture)),
        ("LabelSmoothing", labelSmoothing.ToString(CultureInfo.InvariantCulture)),
        ("Model", vit.Config.ToJson()),
    ];

    public IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context)
    {
        Rng rng = context.Rng;
        vit.Training = true;
        Dropout.Seed(vit, ref rng);
        using var recording = new Recording();
        Tensor loss = F.CrossEntropy(vit.Forward(batch.ToTensor(vit.Config)), batch.Labels, labelSmoothing);
        recording.Backward(loss, context.GradientScale);
        return new Dictionary<string, double> { ["loss"] = loss.Item() };
    }

    public EvaluationResult Evaluate(IEnumerable<Batch> batches)
    {
        using var session = new VitSession(vit);
        Evaluation e = new Evaluator(session).Run(batches);
        return new EvaluationResult(
            new Dictionary<string, double> { ["accuracy"] = e.Accuracy, ["loss"] = e.Loss, ["images_per_second"] = e.ImagesPerSecond },
            new Dictionary<string, double> { ["plain"] = e.Accuracy });
    }

    public void SaveModel(string path) => ModelFile.Save(path, vit, structure);
}
