using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Writes a network's graph as one of ONNX, node by node, by <see cref="OnnxTable"/>. Nothing here knows a network. What is made
/// of weights alone is computed and becomes a constant. Values have the shapes that they have in the graph, with axis 0 left
/// open; but token rows [rows, ..] are written as [N, T, ..], which is what runtimes are fast with.
/// </summary>
internal sealed class OnnxWriter
{
    private readonly Graph graph;
    private readonly OnnxOptions options;
    private readonly OnnxConstants constants;

    // What depends on an input; which of it is written as [N, T, ..]; and how it is called.
    private readonly HashSet<GraphValue> computed, tokens = [];
    private readonly HashSet<GraphNode> linears;
    private readonly Dictionary<GraphValue, string> names = [], turned = [];
    private readonly Dictionary<GraphValue, OnnxRows> rows = [];
    private readonly Dictionary<string, IReadOnlyList<string>> quantised = [];
    private readonly Dictionary<string, string> made = [];
    private readonly List<string> decided = [];
    private string left = "";

    private OnnxWriter(Graph network, OnnxOptions options)
    {
        this.options = options;
        graph = network.Copy();
        GraphPasses.DropDropouts(graph, training: false);
        foreach (GraphNode node in graph.Nodes)
            if (node.Op is KeepRowsOp keep && (!options.Prune || keep.Rule.By == KeepBy.All))
                graph.Redirect(node.Output, node.Operands[0]!, _ => true);
        graph.RemoveUnread();
        HashSet<GraphNode> old = [.. graph.Nodes];
        // One row an image is an image's row: [N, ..], as behind a classifier's choice of the class token.
        tokens.UnionWith(graph.Inputs.Concat(old.Select(n => n.Output)).Where(v => v.Tensor.Rows is { MaxLength: > 1 }));
        // But the one that attention asks with stays a token, which readers know as a query.
        foreach (GraphNode attention in old.Where(n => n.Op is AttentionOp))
            for (GraphValue? q = attention.Operands[0]; q?.Tensor.Rows is { MaxLength: 1 }; q = q.Producer?.Operands[0]) tokens.Add(q);
        GraphPasses.TakeRowsEarly(graph, lastRows: false);
        graph.Refresh();
        tokens.UnionWith(graph.Nodes.Where(n => !old.Contains(n)).Select(n => n.Output));
        computed = OpenBatch.Computed(graph);
        OpenBatch.Check(graph, computed);
        linears = OnnxRows.Linears(graph, tokens);
        OneImage = OnnxRows.DependOnTheImage(graph);
        File = new OnnxGraph(options.Name ?? "network", options.Opset);
        constants = new OnnxConstants(File, graph, OutputNames());
        foreach (GraphValue value in graph.Inputs.Concat(graph.Nodes.Select(n => n.Output))) names[value] = NameOf(value);
    }

    public OnnxGraph File { get; }

    public OnnxConstants Constants => constants;

    /// <summary>Whether the file is for one image at a time, as an image decides for itself how many rows it keeps.</summary>
    public bool OneImage { get; }

    /// <summary>The graph's input that says how many images there are.</summary>
    public string Input => names[graph.Inputs[0]];

    /// <summary>A graph of ONNX with inputs and outputs; its constants are read when the file is written, in the same
    /// scope.</summary>
    /// <exception cref="EspalierException">There is an op without counterpart, or one that works for one number of images
    /// only.</exception>
    public static OnnxGraph Write(Graph network, OnnxOptions options)
    {
        var writer = new OnnxWriter(network, options);
        if (options.Precision == Precision.Int8 && writer.linears.Count == 0)
            throw new EspalierException("the network has no linear layers on token rows, which int8 is for; write it in fp32");
        foreach (GraphValue input in writer.graph.Inputs)
        {
            if (writer.tokens.Contains(input)) writer.rows[input] = OnnxRows.All(input.Tensor.Rows!.MaxLength);
            OnnxType type = writer.IsIds(input) ? OnnxType.Int64 : OnnxType.Float;
            writer.File.Inputs.Add(new OnnxValue(writer.names[input], type, writer.Dimensions(input)));
        }
        foreach (GraphNode node in writer.graph.Nodes)
            if (writer.computed.Contains(node.Output)) writer.Write(node);
        writer.Finish();
        return writer.File;
    }

    /// <summary>Whether a value is token rows, written as [N, T, ..].</summary>
    public bool IsTokens(GraphValue value) => tokens.Contains(value);

    /// <summary>Whether a value depends on the images.</summary>
    public bool IsComputed(GraphValue value) => computed.Contains(value);

    /// <summary>Whether it is an input of ids, which files have as whole numbers.</summary>
    public bool IsIds(GraphValue value) =>
        graph.Inputs.Contains(value) && graph.Nodes.Where(n => n.Inputs.Contains(value)).ToArray()
        is { Length: > 0 } readers && readers.All(n => n.Op is EmbedTokensOp && n.Operands[0] == value);

    /// <summary>Whether a linear layer is to be written in 8 bits.</summary>
    public bool IsInt8(GraphNode node) => options.Precision == Precision.Int8 && linears.Contains(node);

    public OnnxRows RowsOf(GraphValue value) => rows.GetValueOrDefault(value, OnnxRows.One);

    /// <summary>What a value is called where it is wanted as token rows [N, T, ..], or else as it is in the graph.</summary>
    public string Read(GraphValue value, bool asTokens)
    {
        if (!IsComputed(value)) return constants.Of(value);
        if (IsTokens(value) == asTokens) return names[value];
        if (turned.TryGetValue(value, out string? name)) return name;
        name = constants.Free(names[value] + (asTokens ? ".tokens" : ".rows"));
        return turned[value] = Turn(names[value], name, value, asTokens);
    }

    /// <summary>Rows of an image at most, anywhere in the network.</summary>
    public int MostRows => graph.Inputs.Concat(graph.Nodes.Select(n => n.Output)).Max(v => v.Tensor.Rows?.MaxLength ?? 0);

    /// <summary>What several nodes need of the same operand, made for the first of them.</summary>
    public string Once(string what, Func<string> make) =>
        made.TryGetValue(what, out string? there) ? there : made[what] = make();

    /// <summary>Whether no node behind this one drops rows.</summary>
    public bool IsLastDecision(GraphNode node) => graph.Nodes.Last(n => n.Op is KeepRowsOp) == node;

    /// <summary>Notes which token rows are left behind a decision; for files of one image.</summary>
    /// <param name="list">Their tokens, [K].</param>
    public void Decided(string name, string list) => decided.Add(File.Node("Shape", name, [left = list]));

    /// <summary>A value in 8 bits, its scale and its zero point. Queries, keys and values read the same rows, which are rounded
    /// once.
    /// </summary>
    public IReadOnlyList<string> Quantised(string x)
    {
        if (!quantised.TryGetValue(x, out IReadOnlyList<string>? there))
            there = quantised[x] = File.Node("DynamicQuantizeLinear", constants.Free(x + ".quantize"),
                [constants.Free(x + ".int8"), constants.Free(x + ".scale"), constants.Free(x + ".zero")], [x]);
        return there;
    }

    private void Write(GraphNode node)
    {
        OnnxEntry entry = OnnxTable.Get(node);
        bool asTokens = entry.AsTokens(this, node), same = asTokens == IsTokens(node.Output);
        string name = names[node.Output];
        var call = new OnnxCall(this, node, same ? name : constants.Free(name + (asTokens ? ".tokens" : ".rows")), asTokens);
        string written = entry.Write(call);
        if (IsTokens(node.Output)) rows[node.Output] = call.Rows;
        names[node.Output] = same ? written : Turn(written, name, node.Output, !asTokens);
    }

    /// <summary>[rows, ..] as [N, T, ..], or back.</summary>
    private string Turn(string from, string name, GraphValue value, bool toTokens)
    {
        long[] rest = [.. value.Shape.ToArray()[1..].Select(n => (long)n)];
        long[] shape = !toTokens ? [-1, .. rest] : RowsOf(value).Count is { } count ? [-1, count, .. rest] : [1, -1, .. rest];
        return File.Node("Reshape", name, [from, constants.Ints(shape)]);
    }

    private void Finish()
    {
        string[] wanted = OutputNames();
        for (int i = 0; i < graph.Outputs.Count; i++)
        {
            GraphValue value = graph.Outputs[i];
            string name = Read(value, IsTokens(value));
            if (name != wanted[i]) File.Node("Identity", wanted[i], [name]);
            File.Outputs.Add(new OnnxValue(wanted[i], OnnxType.Float, Dimensions(value)));
        }
        if (OneImage) AddDecisions();
        File.RemoveUnread();
    }

    private void AddDecisions()
    {
        if (left != OnnxRows.Left) File.Node("Identity", OnnxRows.Left, [left]);
        File.Node("Concat", OnnxRows.Counts, decided, OnnxAttribute.Int("axis", 0));
        File.Outputs.Add(new OnnxValue(OnnxRows.Counts, OnnxType.Int64, [$"{decided.Count}"]));
        File.Outputs.Add(new OnnxValue(OnnxRows.Left, OnnxType.Int64, ["K"]));
    }

    /// <summary>"logits" where there is one output, else the values' own names, which inputs and earlier outputs keep.</summary>
    private string[] OutputNames() =>
        options.Outputs?.Count == graph.Outputs.Count ? [.. options.Outputs] : graph.Outputs.Count == 1 ? ["logits"]
        : [.. graph.Outputs.Select((o, i) => graph.Inputs.Concat(graph.Outputs.Take(i)).Contains(o) ? $"{o.Name}.{i}" : o.Name)];

    private string NameOf(GraphValue value)
    {
        int output = graph.Inputs.Contains(value) ? -1 : graph.Outputs.ToList().IndexOf(value);
        return output >= 0 ? OutputNames()[output] : constants.Free(value.Name);
    }

    /// <summary>A number or a name for every axis of a value in the file.</summary>
    private string[] Dimensions(GraphValue value)
    {
        int images = OpenBatch.Images(graph.Inputs[0].Tensor), each = IsTokens(value) ? 1 : value.Shape[0] / images;
        string first = OneImage ? (each == 1 ? "1" : "R") : each == 1 ? "N" : $"{each}N";
        IEnumerable<string> rest = value.Shape.ToArray()[1..].Select(n => $"{n}");
        return IsTokens(value) ? [first, RowsOf(value).Count is { } count ? $"{count}" : "T", .. rest] : [first, .. rest];
    }
}
