using System.CommandLine;
using Espalier.Cli.Running;
using Espalier.Training;

namespace Espalier.Cli.Options;

/// <summary>What training learns from beside the labels: options that verbs which train have in common.</summary>
internal static class RecipeFlags
{
    public static Option<string?> Teacher { get; } = Opt.Text("--teacher",
        "Checkpoint of a network that teaches in all training; for compress also self, the network before", "FILE");

    public static Option<string?> TeacherType { get; } = Opt.Text("--teacher-type",
        "The teacher's network by name, for published weights", "NAME");

    public static Option<string?> Distillation { get; } = Opt.Choice("--distillation",
        "How the teacher teaches: by its softened probabilities, or its answer as a label [hinton]",
        [.. Training.Distillation.Names]);

    public static Option<float?> DistillationWeight { get; } = Opt.Number("--distillation-weight",
        "The teacher's part of the loss; the labels have the rest [0.9, 0.1 or 0.5 by --distillation]", 0f, 1f, "SHARE");

    public static Option<float?> Temperature { get; } = Opt.Number("--temperature",
        "What logits are divided by before they are compared [4 for hinton, 3 for deit-soft]", 0.01f, 1000f, "T");

    public static Option<float?> LabelSmoothing { get; } = Opt.Number("--label-smoothing", "[0]", 0f, 0.999f, "SHARE");

    public static Option<float?> Mixup { get; } =
        Opt.Number("--mixup", "Blend images by a share from Beta(A, A); 0 for none, DeiT has 0.8 [0]", 0f, 100f, "A");

    public static Option<float?> CutMix { get; } = Opt.Number("--cutmix",
        "Put a rectangle of one image into another, by a share from Beta(A, A); 0 for none, DeiT has 1 [0]", 0f, 100f, "A");

    /// <summary>All of them, for a verb's list.</summary>
    public static IReadOnlyList<Option> All { get; } =
        [Teacher, TeacherType, Distillation, DistillationWeight, Temperature, LabelSmoothing, Mixup, CutMix];

    /// <exception cref="EspalierException">Distillation is described, but there is no teacher.</exception>
    public static Recipe Read(ParseResult p)
    {
        if (p.GetValue(Teacher) is null)
        {
            Option? idle = new Option[] { TeacherType, Distillation, DistillationWeight, Temperature }
                .FirstOrDefault(o => p.GetResult(o) is { Implicit: false });
            if (idle is not null) throw new EspalierException($"{idle.Name} needs a teacher; give --teacher FILE");
        }
        if (p.GetValue(Distillation) == "deit-hard" && p.GetValue(Temperature) is not null)
            throw new EspalierException($"{Temperature.Name} softens probabilities, and deit-hard takes the answer alone; leave it out");
        return new Recipe
        {
            Teacher = p.GetValue(Teacher),
            TeacherType = p.GetValue(TeacherType),
            Distillation = Training.Distillation.Parse(p.GetValue(Distillation) ?? "hinton", p.GetValue(DistillationWeight),
                p.GetValue(Temperature)),
            LabelSmoothing = p.GetValue(LabelSmoothing) ?? 0,
            Mixing = new Mixing(p.GetValue(Mixup) ?? 0, p.GetValue(CutMix) ?? 0),
        };
    }
}
