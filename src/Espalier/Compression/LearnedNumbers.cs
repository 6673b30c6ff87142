using Espalier.Training;

namespace Espalier.Compression;

/// <summary>Numbers that a method trains beside the network, by Adam; a negative rate climbs.</summary>
internal sealed class LearnedNumbers
{
    private readonly double[] first, second;
    private long steps;

    public LearnedNumbers(int count, double initial)
    {
        (Values, first, second) = (new double[count], new double[count], new double[count]);
        Array.Fill(Values, initial);
    }

    public double[] Values { get; }

    /// <summary>What a number that is learned is as a share.</summary>
    public static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    public void Step(double[] gradient, double rate)
    {
        steps++;
        for (int i = 0; i < Values.Length; i++)
        {
            first[i] = 0.9 * first[i] + 0.1 * gradient[i];
            second[i] = 0.999 * second[i] + 0.001 * gradient[i] * gradient[i];
            double mean = first[i] / (1 - Math.Pow(0.9, steps)), square = second[i] / (1 - Math.Pow(0.999, steps));
            Values[i] -= rate * mean / (Math.Sqrt(square) + 1e-8);
        }
    }

    public void Save(StateWriter state)
    {
        state.Add("steps", steps);
        state.Add("values", Values);
        state.Add("first", first);
        state.Add("second", second);
    }

    public void Load(StateReader state)
    {
        steps = state.ReadLong("steps");
        state.ReadDoubles("values").CopyTo(Values, 0);
        state.ReadDoubles("first").CopyTo(first, 0);
        state.ReadDoubles("second").CopyTo(second, 0);
    }
}
