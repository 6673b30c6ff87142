using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Optim;

/// <summary>
/// Minimises a smooth function of many numbers by L-BFGS (Liu and Nocedal 1989): steps along what the last gradients say of the
/// curvature, each shortened until the function falls enough.
/// </summary>
public sealed class Lbfgs
{
    private const double Armijo = 1e-4, Shorten = 0.5;
    private const int MostHalvings = 40;

    /// <summary>Writes the gradient at x and gives the value.</summary>
    public delegate double Objective(ReadOnlySpan<double> x, Span<double> gradient);

    /// <summary>Pairs of steps and gradients that are remembered.</summary>
    public int Memory { get; init; } = 10;

    public int MaxIterations { get; init; } = 1000;

    /// <summary>Ends where no entry of the gradient is larger.</summary>
    public double Tolerance { get; init; } = 1e-4;

    /// <summary>Ends where a step lowers the value by a smaller share of it.</summary>
    public double LeastGain { get; init; } = 1e-10;

    /// <param name="x">Where to begin; holds the minimum in the end.</param>
    /// <returns>The value there, and the steps that were made.</returns>
    public (double Value, int Iterations) Minimise(double[] x, Objective objective)
    {
        int n = x.Length;
        double[] gradient = new double[n], next = new double[n], nextGradient = new double[n], direction = new double[n];
        var steps = new List<(double[] S, double[] Y, double Rho)>();
        double value = objective(x, gradient);
        int iteration = 0;
        while (iteration < MaxIterations && TensorPrimitives.MaxMagnitude<double>(gradient) is var g && Math.Abs(g) > Tolerance)
        {
            Direction(gradient, steps, direction);
            double slope = TensorPrimitives.Dot<double>(direction, gradient);
            if (slope >= 0)
            {
                steps.Clear();
                TensorPrimitives.Negate(gradient, direction);
                slope = -TensorPrimitives.Dot<double>(gradient, gradient);
            }
            double length = steps.Count == 0 ? Math.Min(1, 1 / Math.Sqrt(-slope)) : 1, lower = value;
            bool found = false;
            for (int tries = 0; tries < MostHalvings && !found; tries++, length *= found ? 1 : Shorten)
            {
                TensorPrimitives.MultiplyAdd(direction, length, x, next);
                lower = objective(next, nextGradient);
                found = lower <= value + Armijo * length * slope;
            }
            if (!found) break;
            iteration++;
            double[] s = new double[n], y = new double[n];
            TensorPrimitives.Subtract(next, x, s);
            TensorPrimitives.Subtract(nextGradient, gradient, y);
            double curvature = TensorPrimitives.Dot<double>(s, y);
            if (curvature > 1e-12 * TensorPrimitives.Dot<double>(y, y)) steps.Add((s, y, 1 / curvature));
            if (steps.Count > Memory) steps.RemoveAt(0);
            next.CopyTo(x, 0);
            nextGradient.CopyTo(gradient, 0);
            double gain = value - lower;
            value = lower;
            if (gain <= LeastGain * Math.Max(1, Math.Abs(value))) break;
        }
        return (value, iteration);
    }

    private static void Direction(double[] gradient, List<(double[] S, double[] Y, double Rho)> steps, double[] direction)
    {
        TensorPrimitives.Negate(gradient, direction);
        var shares = new double[steps.Count];
        for (int i = steps.Count - 1; i >= 0; i--)
        {
            shares[i] = steps[i].Rho * TensorPrimitives.Dot<double>(steps[i].S, direction);
            TensorPrimitives.MultiplyAdd(steps[i].Y, -shares[i], direction, direction);
        }
        if (steps.Count > 0)
        {
            var (_, y, rho) = steps[^1];
            TensorPrimitives.Multiply(direction, 1 / (rho * TensorPrimitives.Dot<double>(y, y)), direction);
        }
        for (int i = 0; i < steps.Count; i++)
        {
            double share = shares[i] - steps[i].Rho * TensorPrimitives.Dot<double>(steps[i].Y, direction);
            TensorPrimitives.MultiplyAdd(steps[i].S, share, direction, direction);
        }
    }
}
