using Espalier.Imaging;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>What training learns from beside the labels.</summary>
internal sealed record Recipe
{
    /// <summary>Checkpoint of the teacher; null for none.</summary>
    public string? Teacher { get; init; }

    /// <summary>Its network by name, where the file does not say.</summary>
    public string? TeacherType { get; init; }

    public Distillation Distillation { get; init; } = Distillation.Hinton;

    public float LabelSmoothing { get; init; }

    public Mixing Mixing { get; init; } = new();

    /// <summary>The teacher; null for none.</summary>
    /// <param name="numClasses">The student's.</param>
    /// <param name="classNames">Their names in the order of its logits; null where they are not known.</param>
    /// <param name="preprocessing">How the student's images are made.</param>
    /// <exception cref="EspalierException">It cannot be read, or cannot teach this student.</exception>
    public Teacher? LoadTeacher(int numClasses, IReadOnlyList<string>? classNames, Preprocessing preprocessing)
    {
        if (Teacher is null) return null;
        Teacher loaded = Training.Teacher.Load(Teacher, TeacherType);
        try
        {
            return loaded.For(numClasses, classNames, preprocessing);
        }
        catch
        {
            loaded.Dispose();
            throw;
        }
    }

    /// <summary>The task's options, with the teacher where there is one.</summary>
    public ClassifierTaskOptions Task(Teacher? teacher) => new()
    {
        LabelSmoothing = LabelSmoothing, Mixing = Mixing,
        Distillation = teacher is null ? null : Distillation,
        Teacher = teacher is null ? null : teacher.Logits,
    };
}
