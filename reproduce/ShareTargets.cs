using System.Globalization;
using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Reproduce;

/// <summary>Settings with which methods that know no target for multiply-adds meet one.</summary>
internal static class ShareTargets
{
    private const double Smallest = 1e-9, Largest = 10;
    private const int Halvings = 3;

    /// <summary>Runs the job's method so that at most a share of the multiply-adds is left.</summary>
    public static void Run(CompressionJob job, double share)
    {
        switch (job.Options)
        {
            case CompressionMethod { Name: "ats" } ats:
                WithCount(ats, TransformerBlocks.Of(job.Model.Graph), share).Run(job);
                break;
            case CompressionMethod { Name: "patch-slimming" } patches:
                WithError(patches, job, share).Run(job);
                break;
            default:
                job.Run();
                break;
        }
    }

    /// <summary>Adaptive sampling with the most tokens that the blocks behind the first quarter may have, as if a block cost as
    /// much as it has tokens. How many there are an image decides, which no count of a graph knows.</summary>
    internal static CompressionMethod WithCount(CompressionMethod method, TransformerBlocks blocks, double share)
    {
        double whole = (double)(blocks.Blocks.Count / 4) / blocks.Blocks.Count;
        int count = (int)(blocks.Tokens * (share - whole) / (1 - whole) + 1e-9);
        if (count < 2) throw Unreachable(method, share);
        return method.Set("count", count.ToString(CultureInfo.InvariantCulture)) with { Selection = new SelectionOptions() };
    }

    /// <summary>Patch Slimming with nearly the smallest error that is large enough: doubled or halved from the usual one until the
    /// target lies between two errors, then halved between them. Tried on one batch and without tuning; with tuning blocks need
    /// fewer positions, so that the target is met then, too.</summary>
    private static CompressionMethod WithError(CompressionMethod method, CompressionJob job, double share)
    {
        long most = (long)(share * job.Model.Graph.CostPerImage.MultiplyAdds);
        method = method with { Selection = new SelectionOptions() };
        double usual = double.Parse(method.Settings.Single(s => s.Name == "epsilon").Of(method), CultureInfo.InvariantCulture);
        double epsilon = Enough(usual, e => MultiplyAdds(method, job, e) <= most) ?? throw Unreachable(method, share);
        return WithEpsilon(method, epsilon);
    }

    /// <summary>A number at most a tenth above the smallest that is enough, from one to start with; null where none up to
    /// <see cref="Largest"/> is.</summary>
    /// <param name="isEnough">Whether a number is; every larger one is, too.</param>
    internal static double? Enough(double start, Func<double, bool> isEnough)
    {
        double enough = start;
        if (isEnough(start))
        {
            while (enough > Smallest && isEnough(enough / 2)) enough /= 2;
        }
        else
        {
            do
            {
                enough *= 2;
                if (enough > Largest) return null;
            }
            while (!isEnough(enough));
        }
        double less = enough / 2;
        for (int i = 0; i < Halvings; i++)
        {
            double between = Math.Sqrt(less * enough);
            if (isEnough(between)) enough = between;
            else less = between;
        }
        return enough;
    }

    private static long MultiplyAdds(CompressionMethod method, CompressionJob job, double epsilon)
    {
        using var scope = new Scope();
        using Model copy = job.Model.Copy();
        CompressionMethod tried = WithEpsilon(method, epsilon).Set("tune", "0") with { RankBatches = 1, FineTuneSteps = 0 };
        tried.Run(new CompressionJob(copy, job.Data, tried));
        return copy.Graph.CostPerImage.MultiplyAdds;
    }

    private static CompressionMethod WithEpsilon(CompressionMethod method, double epsilon) =>
        method.Set("epsilon", epsilon.ToString(CultureInfo.InvariantCulture));

    private static EspalierException Unreachable(CompressionMethod method, double share) =>
        new(FormattableString.Invariant($"{method.Name} cannot leave {share:0.##} of the multiply-adds"));
}
