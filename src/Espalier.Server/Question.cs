using System.Globalization;
using Espalier.Inference;
using Microsoft.Extensions.Primitives;

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
        foreach ((string name, StringValues values) in query)
        {
            if (!Names.Contains(name))
                throw Wrong($"there is no parameter '{name}'{Near.Hint(name, Names)}; there are {string.Join(", ", Names)}");
            if (values.Count > 1) throw Wrong($"{name} is given {values.Count} times");
        }
        ServedModel model = query["model"] is [{ } wanted] ? models.FirstOrDefault(m => m.Name == wanted)
            ?? throw new Refusal(StatusCodes.Status404NotFound, $"no model '{wanted}' is served; there are "
                + string.Join(", ", models.Select(m => m.Name))) : models[0];
        double? threshold = Number(query, "threshold"), keep = Number(query, "keep");
        bool? prune = Flag(query, "prune");
        if (new[] { threshold is not null, keep is not null, prune == false }.Count(given => given) > 1)
            throw Wrong("threshold, keep and prune=false each say which tokens are dropped; give one of them");
        if (keep == 0) throw Wrong("keep is a share above 0");
        Pruning? pruning = threshold is { } t ? Inference.Pruning.Threshold((float)t)
            : keep is { } share ? Inference.Pruning.KeepShare(share) : prune == false ? Inference.Pruning.None : null;
        int top = query["top"] is [{ } text] ? Whole(text) : UsualTop;
        return new Question(model, pruning, top, Flag(query, "picture") ?? false);
    }

    private static int Whole(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int top) && top is >= 1 and <= MostTop ? top
            : throw Wrong($"top is a whole number from 1 to {MostTop}");

    private static double? Number(IQueryCollection query, string name)
    {
        if (query[name] is not [{ } text]) return null;
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value is >= 0 and <= 1
            ? value : throw Wrong($"{name} is a number from 0 to 1");
    }

    private static bool? Flag(IQueryCollection query, string name) => query[name] is not [{ } text] ? null : text switch
    {
        "true" => true,
        "false" => false,
        _ => throw Wrong($"{name} is true or false"),
    };

    private static Refusal Wrong(string line) => new(StatusCodes.Status400BadRequest, line);
}
