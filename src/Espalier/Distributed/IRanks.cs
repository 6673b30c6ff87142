namespace Espalier.Distributed;

/// <summary>
/// The processes that train one network together, each on its part of every batch. All of them make the same calls in the same
/// order. There is one operation only: what a rank alone knows reaches the others as a sum with zeros.
/// </summary>
public interface IRanks
{
    /// <summary>The number of this process, from 0. The first one writes files and speaks.</summary>
    int Rank { get; }

    /// <summary>How many processes there are.</summary>
    int Count { get; }

    /// <summary>Begins to replace the values of every rank by their sum; the memory is left alone until the task has ended.</summary>
    Task Sum(Memory<float> values);

    /// <summary>The same of numbers that need more digits.</summary>
    Task Sum(Memory<double> values);
}

/// <summary>What is done with sums.</summary>
public static class RankSums
{
    /// <summary>The sum of a number over all ranks.</summary>
    public static double Sum(this IRanks ranks, double value)
    {
        double[] one = [value];
        ranks.Sum(one.AsMemory()).GetAwaiter().GetResult();
        return one[0];
    }

    /// <summary>The same number on all ranks?</summary>
    public static bool Agree(this IRanks ranks, double value)
    {
        // Whole numbers to 2^53 and sums of so few equal ones are exact; of others the spread says it.
        double mean = ranks.Sum(value) / ranks.Count;
        return ranks.Sum(Math.Abs(value - mean)) <= 1e-12 * Math.Abs(mean) * ranks.Count;
    }
}
