using Espalier.Inference;

namespace Espalier.Server;

/// <summary>What a request's address asks for beside the images in its body.</summary>
/// <param name="Pruning">Null for what the model does by itself.</param>
/// <param name="Top">Classes of each answer.</param>
/// <param name="Picture">Whether the answer has what the network saw.</param>
internal sealed record Question(ServedModel Model, Pruning? Pruning, int Top, bool Picture)
{
    private const int UsualTop = 5, MostTop = 1000;
    private static readonly string[] Names = ["model", "threshold", "keep", "prune", "top", "picture"];

    /// <exception cref="Refusal">A parameter is unknown, given twice, or has no such value.</exception>
    public static Question Of(IQueryCollection query, IReadOnlyList<ServedModel> models)
    {
        var said = new Parameters(query, Names);
        ServedModel model = said.Model(models);
        double? threshold = said.Number("threshold"), keep = said.Number("keep");
        bool? prune = said.Flag("prune");
        if (new[] { threshold is not null, keep is not null, prune == false }.Count(given => given) > 1)
            throw Parameters.Wrong("threshold, keep and prune=false each say which tokens are dropped; give one of them");
        if (keep == 0) throw Parameters.Wrong("keep is a share above 0");
        Pruning? pruning = threshold is { } t ? Inference.Pruning.Threshold((float)t)
            : keep is { } share ? Inference.Pruning.KeepShare(share) : prune == false ? Inference.Pruning.None : null;
        return new Question(model, pruning, said.Whole("top", MostTop) ?? UsualTop, said.Flag("picture") ?? false);
    }
}
