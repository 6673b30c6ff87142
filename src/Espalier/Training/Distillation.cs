using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>What a student learns from its teacher.</summary>
public enum DistillationKind
{
    /// <summary>
    /// The teacher's softened probabilities (Hinton et al., arXiv 1503.02531): T²·KL(softmax(t/T) || softmax(s/T)), the mean
    /// over the batch.
    /// </summary>
    Hinton,

    /// <summary>The same divided by the number of classes as well, as DeiT's code does (arXiv 2012.12877, eq. 2).</summary>
    DeitSoft,

    /// <summary>The teacher's answer as a label: cross-entropy with argmax t (arXiv 2012.12877, eq. 3).</summary>
    DeitHard,
}

/// <summary>
/// Knowledge distillation: loss = (1 - a)·base + a·(what the teacher says), with base the loss by the labels. The teacher's
/// logits are constants, made by the teacher in evaluation mode from the same images, augmentation included.
/// </summary>
/// <param name="Kind">How the teacher teaches.</param>
/// <param name="Weight">a in [0, 1].</param>
/// <param name="Temperature">T, by which logits are divided; not used by <see cref="DistillationKind.DeitHard"/>.</param>
public sealed record Distillation(DistillationKind Kind, float Weight, float Temperature = 1)
{
    /// <summary>Hinton's with T = 4 and a = 0.9.</summary>
    public static Distillation Hinton { get; } = new(DistillationKind.Hinton, 0.9f, 4);

    /// <summary>DeiT's soft distillation with the paper's T = 3 and λ = 0.1 for a.</summary>
    public static Distillation DeitSoft { get; } = new(DistillationKind.DeitSoft, 0.1f, 3);

    /// <summary>DeiT's hard distillation with a = 0.5: the paper's best.</summary>
    public static Distillation DeitHard { get; } = new(DistillationKind.DeitHard, 0.5f);

    /// <summary>The names that <see cref="Parse"/> knows, in the order of <see cref="DistillationKind"/>.</summary>
    public static IReadOnlyList<string> Names { get; } = ["hinton", "deit-soft", "deit-hard"];

    /// <exception cref="EspalierException">There is no distillation of that name, or a number is out of its range.</exception>
    public static Distillation Parse(string name, float? weight = null, float? temperature = null)
    {
        Distillation usual = name switch
        {
            "hinton" => Hinton,
            "deit-soft" => DeitSoft,
            "deit-hard" => DeitHard,
            _ => throw new EspalierException($"'{name}' is not a distillation; choose one of {string.Join(", ", Names)}"),
        };
        if (weight is not (null or (>= 0 and <= 1))) throw new EspalierException($"a distillation's weight is 0 to 1, not {weight}");
        if (temperature is { } t && !(t > 0 && float.IsFinite(t)))
            throw new EspalierException($"a distillation's temperature is above 0, not {t}");
        return usual with { Weight = weight ?? usual.Weight, Temperature = temperature ?? usual.Temperature };
    }

    /// <summary>The whole loss [].</summary>
    /// <param name="labelLoss">The loss of the class head by the labels, [].</param>
    /// <param name="student">[N, K] logits: of the distillation head where there is one, else of the class head.</param>
    /// <param name="teacher">[N, K] logits, no gradient wanted.</param>
    public Tensor Loss(Tensor labelLoss, Tensor student, Tensor teacher) =>
        labelLoss * (1 - Weight) + FromTeacher(student, teacher) * Weight;

    /// <summary>What the teacher says alone, not weighted: [].</summary>
    public Tensor FromTeacher(Tensor student, Tensor teacher)
    {
        if (Kind == DistillationKind.DeitHard) return F.CrossEntropy(student, F.ArgMax(teacher));
        float scale = Temperature * Temperature / (Kind == DistillationKind.DeitSoft ? student.Shape[1] : 1);
        return F.KlDivergence(student, teacher, Temperature) * scale;
    }
}
