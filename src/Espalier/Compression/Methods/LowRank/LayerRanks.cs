namespace Espalier.Compression.Methods.LowRank;

/// <summary>The ranks that a layer may have, and what they cost.</summary>
/// <param name="cost">Multiply-adds of the layer as it is, for an image.</param>
/// <param name="rankCost">Those of one rank of the two layers.</param>
/// <param name="most">The rank at which two layers cost what one does (r_max), or what its matrix has; a layer that keeps so many
/// stays one layer.</param>
internal sealed class LayerRanks(double cost, double rankCost, int most)
{
    public double Cost => cost;

    public int Most => most;

    /// <summary>Rising, the last of which is <see cref="Most"/> unless one was fixed.</summary>
    public int[] Allowed { get; private set; } = [.. Enumerable.Range(1, most)];

    /// <summary>What the fewest cost.</summary>
    public double Least => CostAt(Allowed[0]);

    public double CostAt(int rank) => rank >= most ? cost : Math.Min(cost, rank * rankCost);

    /// <summary>At least a tenth of the most, and as many as the options say; multiples, where they say so.</summary>
    public void Limit(SelectionOptions options)
    {
        int least = Math.Max(options.MinKept, (int)Math.Round(most / 10.0, MidpointRounding.AwayFromZero));
        IEnumerable<int> fewer = Enumerable.Range(least, Math.Max(0, most - least));
        Allowed = [.. fewer.Where(r => r <= options.Multiple || r % options.Multiple == 0), most];
    }

    /// <summary>Leaves one rank to choose, the nearest that is allowed.</summary>
    public void Fix(double rank) => Allowed = [Nearest(rank)];

    /// <summary>The allowed rank that is nearest, upward where two are as near.</summary>
    public int Nearest(double rank) => Allowed.MinBy(r => (Math.Abs(r - rank), -r));
}
