using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>Student (1, 2, 3), teacher (3, 2, 1), label 2.</summary>
public sealed class DistillationTests
{
    private static readonly float[] Student = [1, 2, 3], Teacher = [3, 2, 1];

    [Theory]
    [InlineData(1, 1.1504208)]
    [InlineData(2, 1.2806267)]
    [InlineData(4, 1.3196299)]
    public void Soft(float temperature, double expected)
    {
        using var scope = new Scope();
        Assert.Equal(expected, FromTeacher(new(DistillationKind.Hinton, 1, temperature)), 1e-5);
        Assert.Equal(expected / 3, FromTeacher(new(DistillationKind.DeitSoft, 1, temperature)), 1e-5);
    }

    [Fact]
    public void HintonsLossIsOfBothParts() => Assert.Equal(1.2284275, Whole(Distillation.Hinton), 1e-5);

    [Fact]
    public void HardTakesTheTeachersAnswer() => Assert.Equal(1.4076060, Whole(Distillation.DeitHard), 1e-5);

    /// <summary>T (p - q) of what both say softened: at T = 4 the teacher's q is (.419229, .326496, .254275), and the student's p the
    /// other way round.</summary>
    [Theory]
    [InlineData(4, 0.6598150)]
    [InlineData(1e4f, 0.6666667)]
    public void GradientOfTheSoftPart(float temperature, float expected)
    {
        using var scope = new Scope();
        using Tensor student = Tensor.Parameter(new Shape(1, 3));
        Student.CopyTo(student.Span);
        using var recording = new Recording();
        recording.Backward(new Distillation(DistillationKind.Hinton, 1, temperature)
            .FromTeacher(student, Tensor.From(new Shape(1, 3), Teacher)));
        Assert.Equal(-expected, student.Grad!.Span[0], 2e-3f);
        Assert.Equal(0, student.Grad.Span[1], 1e-4f);
        Assert.Equal(expected, student.Grad.Span[2], 2e-3f);
    }

    [Fact]
    public void NamesAndRanges()
    {
        foreach (string name in Distillation.Names) Assert.Equal(0.25f, Distillation.Parse(name, weight: 0.25f).Weight);
        Assert.Equal(Distillation.DeitHard, Distillation.Parse("deit-hard"));
        Assert.Contains("hinton", Assert.Throws<EspalierException>(() => Distillation.Parse("soft")).Message);
        Assert.Throws<EspalierException>(() => Distillation.Parse("hinton", weight: 1.5f));
        Assert.Throws<EspalierException>(() => Distillation.Parse("hinton", temperature: 0));
    }

    private static double FromTeacher(Distillation distillation) =>
        distillation.FromTeacher(Tensor.From(new Shape(1, 3), Student), Tensor.From(new Shape(1, 3), Teacher)).Item();

    private static double Whole(Distillation distillation)
    {
        using var scope = new Scope();
        Tensor student = Tensor.From(new Shape(1, 3), Student), teacher = Tensor.From(new Shape(1, 3), Teacher);
        return distillation.Loss(F.CrossEntropy(student, [2]), student, teacher).Item();
    }
}
