using System.Globalization;
using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Reproduce;

/// <summary>Settings with which methods that know no target for multiply-adds meet one.</summary>
internal static class VitTargets
{
    private const double Largest = 10;

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
        return count >= 2 ? method.Set("count", count.ToString(CultureInfo.InvariantCulture)) : throw Unreachable(method, share);
    }

    /// <summary>Patch Slimming with the smallest error that is large enough, by doubling, on one batch and without tuning. With
    /// tuning blocks need fewer positions, so that the target is met then, too.</summary>
    private static CompressionMethod WithError(CompressionMethod method, CompressionJob job, double share)
    {
        long most = (long)(share * job.Model.Graph.CostPerImage.MultiplyAdds);
        method = method with { Selection = new SelectionOptions() };
        using var scope = new Scope();
        double first = double.Parse(method.Settings.Single(s => s.Name == "epsilon").Of(method), CultureInfo.InvariantCulture);
        for (double epsilon = first; epsilon <= Largest; epsilon *= 2)
        {
            CompressionMethod wanted = method.Set("epsilon", epsilon.ToString(CultureInfo.InvariantCulture));
            using Model copy = job.Model.Copy();
            CompressionMethod tried = wanted.Set("tune", "0") with { RankBatches = 1, FineTuneSteps = 0 };
            tried.Run(new CompressionJob(copy, job.Data, tried));
            if (copy.Graph.CostPerImage.MultiplyAdds <= most) return wanted;
        }
        throw Unreachable(method, share);
    }

    private static EspalierException Unreachable(CompressionMethod method, double share) =>
        new(FormattableString.Invariant($"{method.Name} cannot leave {share:0.##} of the multiply-adds"));
}
