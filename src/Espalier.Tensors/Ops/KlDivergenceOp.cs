using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// loss = 1/N Σ_n KL(softmax(t_n / T) || softmax(s_n / T)): how far a student's distribution is from its teacher's (Hinton et
/// al. 2015), summed over classes and averaged over rows. The factor T² that keeps gradients comparable is the caller's.
/// Student logits s [N, K], teacher logits t [N, K] -> loss [] (a single value). The teacher is constant.
/// </summary>
public sealed unsafe class KlDivergenceOp : Op
{
    private readonly Tensor student, teacher;
    private readonly float temperature;
    private readonly int rows, classes;
    private Tensor? studentLog, teacherLog;

    public KlDivergenceOp(Tensor student, Tensor teacher, float temperature = 1) : base(student, teacher)
    {
        if (student.Rank != 2 || student.Length == 0 || teacher.Shape != student.Shape)
            throw new ArgumentException($"KlDivergence: student {student.Shape} and teacher {teacher.Shape} must both be [N, K]");
        if (!(temperature > 0)) throw new ArgumentException($"KlDivergence: temperature {temperature} is not positive");
        if (teacher.RequiresGrad)
            throw new ArgumentException("KlDivergence: the teacher is constant; run it outside the recording");
        (this.student, this.teacher, this.temperature) = (student, teacher, temperature);
        (rows, classes) = (student.Shape[0], student.Shape[1]);
    }

    public override string Name => "KlDivergence";

    public override Shape Result => new();

    public override Cost Cost => new(0, sizeof(float) * 2 * student.Length);

    public override Op On(Tensor?[] operands, RunContext run = default) =>
        new KlDivergenceOp(operands[0]!, operands[1]!, temperature);

    protected override Tensor Forward()
    {
        studentLog = LogSoftmax(student);
        teacherLog = LogSoftmax(teacher);
        double loss = 0;
        using Tensor p = new(new Shape(classes)), difference = new(new Shape(classes));
        for (int n = 0; n < rows; n++)
        {
            TensorPrimitives.Exp(Row(teacherLog, n), p.Span);
            // Subtracted before the sum: at high temperatures the two sums are nearly the same.
            TensorPrimitives.Subtract(Row(teacherLog, n), Row(studentLog, n), difference.Span);
            loss += TensorPrimitives.Dot<float>(p.Span, difference.Span);
        }
        if (!Differentiated)
        {
            studentLog.Dispose();
            teacherLog.Dispose();
        }
        return Tensor.Scalar((float)(loss / rows));
    }

    /// <summary>ds = (softmax(s / T) - softmax(t / T)) / (T N).</summary>
    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(student)) return;
        AddGrad(student, ds =>
        {
            using var p = new Tensor(new Shape(classes));
            for (int n = 0; n < rows; n++)
            {
                Span<float> d = Row(ds, n);
                TensorPrimitives.Exp(Row(studentLog!, n), d);
                TensorPrimitives.Exp(Row(teacherLog!, n), p.Span);
                TensorPrimitives.Subtract(d, p.Span, d);
                TensorPrimitives.Multiply(d, dy.Item() / (temperature * rows), d);
            }
        });
    }

    /// <summary>The classes must all stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Same(student, 1, teacher, 1);
        flow.Fix(student, 1);
    }

    private Tensor LogSoftmax(Tensor logits)
    {
        var log = new Tensor(logits.Shape);
        TensorPrimitives.Multiply(logits.Span, 1 / temperature, log.Span);
        Softmax.LogForward(log.Data, log.Data, rows, classes);
        return log;
    }

    private Span<float> Row(Tensor t, int n) => new(t.Data + (long)n * classes, classes);
}

public static partial class F
{
    /// <inheritdoc cref="KlDivergenceOp"/>
    public static Tensor KlDivergence(Tensor student, Tensor teacher, float temperature = 1) =>
        new KlDivergenceOp(student, teacher, temperature).Run();
}
