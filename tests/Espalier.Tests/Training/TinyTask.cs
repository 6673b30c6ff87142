using Espalier.Data;
using Espalier.Imaging;
using Espalier.Nn;
using Espalier.Formats;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Tests.Data;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>A linear classifier of 6 x 6 pictures with a buffer that is not trained.</summary>
internal sealed class TinyModel : Module
{
    public const int Inputs = 36;

    public TinyModel(int classes = 3)
    {
        Weight = Parameter("weight", new Shape(classes, Inputs));
        Bias = Parameter("bias", new Shape(classes));
        Seen = Buffer("seen", new Shape(Inputs));
        var rng = new Rng(7);
        Init.Normal(Weight, 0.1f, ref rng);
    }

    public Tensor Weight { get; }

    public Tensor Bias { get; }

    public Tensor Seen { get; }
}

/// <summary>
/// Trains it on noisy pictures, with everything that resuming must bring back: random numbers, a buffer, a controller's number
/// that changes the loss. Its two selections favour different steps.
/// </summary>
internal sealed class TinyTask(int classes = 3, bool oneSelection = false) : ITrainingTask, IDisposable
{
    private double margin = 1;

    public TinyModel Net { get; } = new(classes);

    public Graph Graph => field ??= Tensors.Graph.Trace(x => F.Linear(F.Mul(F.Flatten(x), Net.Seen), Net.Weight, Net.Bias),
        new Shape(2, 1, 6, 6), Net.StateDict());

    public long BrokenStep { get; init; } = -1;

    /// <summary>The step whose loss is a number but whose gradient is none.</summary>
    public long BrokenGradient { get; init; } = -1;

    /// <summary>The weight alone in a first group, as a task with several parts has it.</summary>
    public IReadOnlyList<ParameterGroup> ParameterGroups =>
        [new("weights", [("weight", Net.Weight)]), new("biases", [("bias", Net.Bias)])];

    public Action<long>? OnStep { get; init; }

    public IReadOnlyList<(string Name, string Value)> Identity { get; init; } = [];

    public List<int> Indices { get; } = [];

    public IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context)
    {
        Indices.AddRange(batch.Indices);
        Rng rng = context.Rng;
        double loss = 0;
        Tensor dw = GradOf(Net.Weight), db = GradOf(Net.Bias);
        var work = new Tensor(new Shape(batch.Count, TinyModel.Inputs));    // left to the scope
        for (int n = 0; n < batch.Count; n++)
        {
            Span<float> x = work.Span.Slice(n * TinyModel.Inputs, TinyModel.Inputs);
            batch.Pixels.AsSpan(n * TinyModel.Inputs, TinyModel.Inputs).CopyTo(x);
            for (int i = 0; i < x.Length; i++)
            {
                x[i] += 0.1f * rng.NextNormal();
                Net.Seen.Span[i] += 0.01f * (x[i] - Net.Seen.Span[i]);
            }
            float[] p = Probabilities(x);
            loss -= margin * Math.Log(p[batch.Labels[n]]) / batch.Count;
            for (int c = 0; c < classes; c++)
            {
                float d = (float)margin * (p[c] - (c == batch.Labels[n] ? 1 : 0)) * context.GradientScale / batch.Count;
                db.Span[c] += d;
                for (int i = 0; i < x.Length; i++) dw.Span[c * TinyModel.Inputs + i] += d * x[i];
            }
        }
        if (context.Step == BrokenStep) loss = double.NaN;
        if (context.Step == BrokenGradient) dw.Span[0] = float.NaN;
        return new Dictionary<string, double> { ["loss"] = loss, ["margin"] = margin };
    }

    public void AfterStep(long step)
    {
        margin = 0.9 * margin + 0.2 * Math.Abs(Net.Bias.Span[0]) + 0.001;
        OnStep?.Invoke(step);
    }

    public EvaluationResult Evaluate(IEnumerable<Batch> batches)
    {
        double likelihood = 0;
        int count = 0;
        foreach (Batch batch in batches)
        {
            for (int n = 0; n < batch.Count; n++)
                likelihood += Math.Log(Probabilities(batch.Pixels.AsSpan(n * TinyModel.Inputs,
                    TinyModel.Inputs))[batch.Labels[n]]);
            count += batch.Count;
        }
        double value = likelihood / count;
        var selections = new Dictionary<string, double> { ["high"] = value };
        if (!oneSelection) selections["low"] = -value;
        return new EvaluationResult(new Dictionary<string, double> { ["likelihood"] = value, ["images"] = count }, selections);
    }

    public void SaveState(StateWriter state) => state.Add("margin", margin);

    public void LoadState(StateReader state) => margin = state.ReadDoubles("margin")[0];

    public void SaveModel(string path) =>
        Safetensors.Write(path, Net.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray())));

    public static TrainingData Data(int train = 50, int evaluation = 11) => new(
        new FakeDataset(train), new ImagePipeline(Preprocessing.Half(6, 1), new PadAndCrop(1)), new FakeDataset(evaluation),
            ImagePipeline.Eval(6, 1));

    public void Dispose() => Net.Dispose();

    private static Tensor GradOf(Tensor parameter)
    {
        if (parameter.Grad is null) (parameter.Grad = Tensor.Unscoped(parameter.Shape)).Fill(0);
        return parameter.Grad;
    }

    private float[] Probabilities(ReadOnlySpan<float> x)
    {
        float[] p = new float[classes];
        for (int c = 0; c < classes; c++)
            p[c] = MathF.Exp(Net.Bias.Span[c] + System.Numerics.Tensors.TensorPrimitives.Dot(x,
                Net.Weight.Span.Slice(c * x.Length, x.Length)));
        float sum = p.Sum();
        return Array.ConvertAll(p, v => v / sum);
    }
}

/// <summary>Keeps what it is told.</summary>
internal sealed class ProgressLog : ITrainingProgress
{
    public List<StepInfo> Steps { get; } = [];

    public List<(long Step, string Best)> Evaluations { get; } = [];

    public List<string> Messages { get; } = [];

    public int EvaluatedBatches { get; private set; }

    public Action<long>? OnEvaluating { get; init; }

    public void Step(StepInfo info) => Steps.Add(info);

    public void Evaluating(long step, int batch, int batches)
    {
        EvaluatedBatches++;
        OnEvaluating?.Invoke(step);
    }

    public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) =>
        Evaluations.Add((step, string.Join("+", newBest)));

    public void Message(string text) => Messages.Add(text);
}
