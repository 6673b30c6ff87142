using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Which token rows of an image a value has in a file.</summary>
/// <param name="Count">How many; null where images decide for themselves.</param>
/// <param name="Tokens">Which ones, where that is the same for every image.</param>
/// <param name="Prefix">Tokens 0 to Prefix - 1 are its first rows, for certain.</param>
/// <param name="Names">In files of one image: the file's list of them, [K].</param>
/// <param name="Ends">Of texts that are padded to one length: where each ends, [N]; null where the last row is the end.</param>
internal sealed record OnnxRows(int? Count, int[]? Tokens, int Prefix, string? Names = null, string? Ends = null)
{
    /// <summary>The outputs of a file that drops rows as an image asks for: how many are left after each decision [decisions],
    /// and which in the end [K].</summary>
    public const string Counts = "tokens", Left = "kept";

    /// <summary>One row an image, which is not written as token rows.</summary>
    public static readonly OnnxRows One = new(1, null, 0);

    /// <summary>Every token.</summary>
    public static OnnxRows All(int count) => Of([.. Enumerable.Range(0, count)]);

    /// <summary>The same tokens of every image.</summary>
    public static OnnxRows Of(int[] tokens)
    {
        int prefix = 0;
        while (prefix < tokens.Length && tokens[prefix] == prefix) prefix++;
        return new OnnxRows(tokens.Length, tokens, prefix);
    }

    /// <summary>The file's list of the tokens, [K].</summary>
    /// <exception cref="EspalierException">Nothing in the file knows them.</exception>
    public string List(OnnxCall call) => Names
        ?? (Tokens is null ? throw Unknown(call) : call.Ints([.. Tokens.Select(t => (long)t)]));

    /// <summary>For a node that asks which rows are there, where images have different ones.</summary>
    public static EspalierException Unknown(OnnxCall call) => new($"{call.Node.Op.Name}: '{call.Node.Name}' asks which tokens "
        + "its rows are, which differs from image to image; such a network cannot be written as ONNX for a batch of images");

    /// <summary>
    /// Whether the number of rows depends on the image: where they are kept by a limit of their score, or by a list of tokens
    /// behind other rules.
    /// </summary>
    public static bool DependOnTheImage(Graph graph)
    {
        KeepBy[] rules = [.. graph.Nodes.Select(n => n.Op).OfType<KeepRowsOp>().Select(k => k.Rule.By)];
        return rules.Contains(KeepBy.Limit) || (rules.Contains(KeepBy.Tokens) && rules.Any(r => r != KeepBy.Tokens));
    }

    /// <summary>The linear layers of a transformer's blocks: on token rows, but those on patches and those that only score rows
    /// for a decision, which are to stay exact.</summary>
    public static HashSet<GraphNode> Linears(Graph graph, HashSet<GraphValue> tokens)
    {
        HashSet<GraphValue> needed = graph.Results();
        return [.. graph.Nodes.Where(n => n.Op is LinearOp && needed.Contains(n.Output) && n.Operands[0] is { } x
            && (tokens.Contains(x) || x.Shape.Rank > 2) && x.Producer?.Op is not PatchesToRowsOp)];
    }
}
