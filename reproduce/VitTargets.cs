using Espalier.Compression;
using Espalier.Compression.Methods.AdaptiveSampling;
using Espalier.Compression.Methods.PatchSlimming;
using Espalier.Tensors;

namespace Espalier.Reproduce;

/// <summary>Settings with which methods that know no target for multiply-adds meet one.</summary>
internal static class VitTargets
{
    private const int Looks = 64;
    private const double Largest = 10;

    /// <summary>Runs the job's method so that at most a share of the multiply-adds is left.</summary>
    public static void Run(CompressionJob job, double share)
    {
        if (job.Options is Ats ats) Fit(ats, TransformerBlocks.Of(job.Model.Graph), share).Run(job);
        else if (job.Options is PatchSlimming patches) Fit(patches, job, share).Run(job);
        else job.Run();
    }

    /// <summary>The most tokens that the blocks behind the first quarter may have, as if a block cost as much as it has
    /// tokens. How many there are an image decides, which no count of a graph knows.</summary>
    internal static Ats Fit(Ats method, TransformerBlocks blocks, double share)
    {
        double whole = (double)(blocks.Blocks.Count / 4) / blocks.Blocks.Count;
        int count = (int)(blocks.Tokens * (share - whole) / (1 - whole) + 1e-9);
        return count >= 2 ? method with { Count = count } : throw Unreachable(method, share);
    }

    /// <summary>The smallest error that is large enough, by doubling, on a few images and without tuning. With tuning blocks need
    /// fewer positions, so that the target is met then, too.</summary>
    internal static PatchSlimming Fit(PatchSlimming method, CompressionJob job, double share)
    {
        long most = (long)(share * job.Model.Graph.CostPerImage.MultiplyAdds);
        using var scope = new Scope();
        Tensor[] images = [job.Example(Looks)];
        for (double epsilon = method.Epsilon; epsilon <= Largest; epsilon *= 2)
        {
            using Model copy = job.Model.Copy();
            PatchSlimming tried = method with { Epsilon = epsilon, TuneSteps = 0 };
            PatchSlimming.Apply(copy.Graph, tried.Search(copy.Graph, () => images));
            if (copy.Graph.CostPerImage.MultiplyAdds <= most)
                return method with { Epsilon = epsilon, Selection = new SelectionOptions() };
        }
        throw Unreachable(method, share);
    }

    private static EspalierException Unreachable(CompressionMethod method, double share) =>
        new(FormattableString.Invariant($"{method.Name} cannot leave {share:0.##} of the multiply-adds"));
}
