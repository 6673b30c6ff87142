using System.Numerics.Tensors;
using Espalier.Optim;
using Tensor = Espalier.Tensors.Tensor;
using F = Espalier.Tensors.F;
using Scope = Espalier.Tensors.Scope;
using Shape = Espalier.Tensors.Shape;

namespace Espalier.Clip;

/// <summary>
/// Multinomial logistic regression: minimises |W|²/2 + C · Σ cross-entropy by L-BFGS, the bias unpenalised. It is what "linear
/// probe" means for CLIP (Radford et al., arXiv 2103.00020, section 3.2 and appendix A.3).
/// </summary>
public sealed class LogisticRegression
{
    private LogisticRegression(float[] weights, float[] bias, double objective)
    {
        (Weights, Bias, Objective) = (weights, bias, objective);
    }

    /// <summary>[classes, width].</summary>
    public float[] Weights { get; }

    /// <summary>[classes].</summary>
    public float[] Bias { get; }

    /// <summary>What was minimised, at its end.</summary>
    public double Objective { get; }

    /// <param name="features">[rows][width].</param>
    /// <param name="labels">[rows], from 0.</param>
    /// <param name="c">What the cross-entropy counts against the penalty.</param>
    /// <param name="start">Another solution to begin at; zeros where null.</param>
    /// <exception cref="EspalierException">There is nothing to learn from.</exception>
    public static LogisticRegression Fit(IReadOnlyList<float[]> features, IReadOnlyList<int> labels, int classes, double c,
        LogisticRegression? start = null, int maxIterations = 1000, double tolerance = 1e-4)
    {
        if (features.Count == 0 || features.Count != labels.Count || classes < 2)
            throw new EspalierException($"{features.Count} vectors with {labels.Count} labels of {classes} classes are "
                + "nothing to learn from");
        int width = features[0].Length, rows = features.Count;
        using Tensor x = Stacked(features);
        var parameters = new double[classes * (width + 1)];
        if (start is not null)
        {
            TensorPrimitives.ConvertChecked<float, double>(start.Weights, parameters);
            TensorPrimitives.ConvertChecked<float, double>(start.Bias, parameters.AsSpan(classes * width));
        }
        var solver = new Lbfgs { MaxIterations = maxIterations, Tolerance = tolerance };
        var (value, _) = solver.Minimise(parameters, Loss);
        var all = new float[parameters.Length];
        TensorPrimitives.ConvertTruncating<double, float>(parameters, all);
        return new LogisticRegression(all[..(classes * width)], all[(classes * width)..], value);

        double Loss(ReadOnlySpan<double> at, Span<double> gradient)
        {
            using var scope = new Scope();
            var (w, b) = (new Tensor(new Shape(classes, width)), new Tensor(new Shape(classes)));
            TensorPrimitives.ConvertTruncating(at[..(classes * width)], w.Span);
            TensorPrimitives.ConvertTruncating(at[(classes * width)..], b.Span);
            Tensor z = F.Linear(x, w, b);                                           // [rows, classes]
            double loss = 0;
            Span<double> ofBias = gradient[(classes * width)..];
            ofBias.Clear();
            for (int i = 0; i < rows; i++)
            {
                Span<float> row = z.Span.Slice(i * classes, classes);
                float most = TensorPrimitives.Max<float>(row), own = row[labels[i]];
                TensorPrimitives.Subtract(row, most, row);
                TensorPrimitives.Exp<float>(row, row);
                double sum = 0;
                foreach (float e in row) sum += e;
                loss += Math.Log(sum) + most - own;
                TensorPrimitives.Multiply(row, (float)(c / sum), row);
                row[labels[i]] -= (float)c;
                for (int k = 0; k < classes; k++) ofBias[k] += row[k];
            }
            TensorPrimitives.ConvertChecked<float, double>(F.MatMul(z, x, transposeA: true).Span, gradient[..(classes * width)]);
            ReadOnlySpan<double> weights = at[..(classes * width)];
            TensorPrimitives.Add(gradient[..(classes * width)], weights, gradient[..(classes * width)]);
            return TensorPrimitives.Dot(weights, weights) / 2 + c * loss;
        }
    }

    /// <summary>The share of vectors whose most probable class is theirs.</summary>
    public double Accuracy(IReadOnlyList<float[]> features, IReadOnlyList<int> labels)
    {
        using var scope = new Scope();
        using Tensor x = Stacked(features);
        int classes = Bias.Length, right = 0;
        Tensor z = F.Linear(x, Tensor.From(new Shape(classes, Weights.Length / classes), Weights), Tensor.From(new Shape(classes),
            Bias));
        for (int i = 0; i < labels.Count; i++)
            right += TensorPrimitives.IndexOfMax<float>(z.Span.Slice(i * classes, classes)) == labels[i] ? 1 : 0;
        return (double)right / labels.Count;
    }

    /// <summary>Puts the classifier behind the features of an image tower.</summary>
    /// <param name="tower">Is changed.</param>
    public void MakeClassifier(Model tower, IReadOnlyList<string> classes) =>
        ZeroShot.AddHead(tower, x => x, Weights, Bias, classes);

    private static Tensor Stacked(IReadOnlyList<float[]> features)
    {
        Tensor x = Tensor.Unscoped(new Shape(features.Count, features[0].Length));
        for (int i = 0; i < features.Count; i++) features[i].CopyTo(x.Span.Slice(i * features[0].Length));
        return x;
    }
}

/// <summary>
/// The authors' search for C: seven values from 1e-6 to 1e6, then half the distance around the best, and again, up to 8 steps a
/// decade (appendix A.3), so that of 96 values some are tried.
/// </summary>
public static class ProbeSweep
{
    /// <summary>All values of C that were tried, in this order, each with its accuracy.</summary>
    public sealed record Result(double Best, IReadOnlyList<(double C, double Accuracy)> Tried);

    /// <param name="features">[rows][width] to learn from.</param>
    /// <param name="held">The same to choose by.</param>
    /// <param name="note">Is told of each value.</param>
    public static Result Run(IReadOnlyList<float[]> features, IReadOnlyList<int> labels, IReadOnlyList<float[]> held,
        IReadOnlyList<int> heldLabels, int classes, Action<double, double>? note = null)
    {
        // Eighths of a decade.
        var tried = new OrderedDictionary<int, (double Accuracy, LogisticRegression Fit)>();
        for (int eighths = -48; eighths <= 48; eighths += 16) Try(eighths);
        for (int step = 8; step >= 1; step /= 2)
        {
            int best = Best();
            Try(Math.Max(best - step, -48));
            Try(Math.Min(best + step, 48));
        }
        return new Result(C(Best()), [.. tried.Select(t => (C(t.Key), t.Value.Accuracy))]);

        static double C(int eighths) => Math.Pow(10, eighths / 8.0);

        // Of equals the smallest, which fits least.
        int Best() => tried.OrderByDescending(t => t.Value.Accuracy).ThenBy(t => t.Key).First().Key;

        void Try(int eighths)
        {
            if (tried.ContainsKey(eighths)) return;
            LogisticRegression? near = tried.Count == 0 ? null : tried.MinBy(t => Math.Abs(t.Key - eighths)).Value.Fit;
            LogisticRegression fit = LogisticRegression.Fit(features, labels, classes, C(eighths), near);
            tried.Add(eighths, (fit.Accuracy(held, heldLabels), fit));
            note?.Invoke(C(eighths), tried[eighths].Accuracy);
        }
    }
}
