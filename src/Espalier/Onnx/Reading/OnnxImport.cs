using Espalier.Formats;
using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>How a file of ONNX is read.</summary>
internal sealed record OnnxReadOptions
{
    /// <summary>Height and width of images whose file leaves them open.</summary>
    public int? ImageSize { get; init; }

    /// <summary>Whether axis 0 of the inputs is any number of images; else all lengths are those of the file.</summary>
    public bool OpenBatch { get; init; } = true;

    /// <summary>Values of inputs that are to be known when the network is read, such as shapes and axes.</summary>
    public IReadOnlyDictionary<string, OnnxSourceTensor>? Known { get; init; }

    /// <summary>Whether patterns of several operators are put together to ops: see <see cref="OnnxPatterns"/>.</summary>
    public bool Patterns { get; init; } = true;
}

/// <summary>
/// Reads a file of ONNX into a graph: constants and the arithmetic of shapes are computed at once, every other node becomes ops
/// by <see cref="OnnxReaders"/>. Names of nodes, weights, inputs and outputs are those of the file.
/// </summary>
internal sealed class OnnxImport
{
    private readonly OnnxSource source;
    private readonly OnnxReadOptions options;
    private readonly OnnxBudget budget;
    private readonly OnnxEmitter emitter;
    private readonly Dictionary<string, OnnxOperand> values = new(StringComparer.Ordinal);
    private readonly HashSet<string> outputs;
    private readonly long fixedImages;

    private OnnxImport(OnnxSource source, OnnxReadOptions options)
    {
        (this.source, this.options) = (source, options);
        budget = new OnnxBudget(source.Initialisers.Values.Sum(t => t.Count)
            + source.Nodes.SelectMany(n => n.Attributes.Values).Sum(a => a.Tensor?.Count ?? 0));
        emitter = new OnnxEmitter(budget);
        outputs = [.. source.Outputs.Select(o => o.Name)];
        if (outputs.Count != source.Outputs.Count) throw new InvalidDataException("two outputs have one name");
        OnnxSourceValue? first = source.Inputs.FirstOrDefault(i => !source.Initialisers.ContainsKey(i.Name));
        fixedImages = options.OpenBatch && first?.Shape is [{ } images, ..] ? images : 0;
    }

    /// <summary>The first and last version of the standard operators that are read.</summary>
    public const int FirstOpset = 1, LastOpset = 25;

    /// <summary>What became of the file.</summary>
    /// <param name="Graph">Owns weights, whose values are read.</param>
    /// <param name="Source">What else the file says; its constants are no longer needed.</param>
    /// <param name="Outputs">Types of the outputs.</param>
    public sealed record Result(Graph Graph, OnnxSource Source, IReadOnlyList<OnnxType> Outputs);

    /// <exception cref="EspalierException">The file is missing or damaged, or has something that is not read: one line that names
    /// node and operator.</exception>
    public static Result Read(string path, OnnxReadOptions? options = null) => ReadGuard.Run(path, () =>
    {
        if (Directory.Exists(path)) throw new InvalidDataException("is a folder, not a file; name the file in it");
        if (!File.Exists(path)) throw new InvalidDataException("no such file; check the path");
        if (new FileInfo(path).Length > Array.MaxLength) throw new InvalidDataException("is larger than an ONNX file can be");
        if (FileSystem.IsSpecialFile(path)) throw new InvalidDataException("is a device or a pipe, not a file");
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        using ProtoFile file = ProtoFile.Open(path);
        return Read(file, folder, options);
    });

    /// <param name="folder">Where the file lies, for constants that are in files beside it; null where it is not in one.</param>
    /// <exception cref="InvalidDataException">As above.</exception>
    public static Result Read(ReadOnlyMemory<byte> file, string? folder, OnnxReadOptions? options = null) =>
        Read(ProtoSource.Of(file), folder, options);

    /// <inheritdoc cref="Read(ReadOnlyMemory{byte}, string?, OnnxReadOptions?)"/>
    internal static Result Read(ProtoSource file, string? folder, OnnxReadOptions? options)
    {
        OnnxSource source = OnnxSourceReader.Read(file);
        if (source.Opset is < FirstOpset or > LastOpset)
            throw new InvalidDataException($"is of opset {source.Opset}, and {FirstOpset} to {LastOpset} are read");
        OnnxExternalData.Load(source, folder);
        var import = new OnnxImport(source, options ?? new OnnxReadOptions());
        using var scope = new Scope();
        try
        {
            return import.Run();
        }
        catch (Exception e) when (e is ArgumentException or ArithmeticException)
        {
            throw new InvalidDataException(e.Message.ReplaceLineEndings(" "), e);
        }
    }

    private Result Run()
    {
        foreach (var (name, tensor) in source.Initialisers) Add(name, OfFile(name, tensor));
        foreach (OnnxSourceValue input in source.Inputs) Input(input);
        foreach (string output in outputs) emitter.Reserve(output);
        foreach (OnnxSourceNode node in source.Nodes)
        {
            try
            {
                Node(node);
            }
            catch (Exception e)
                when (e is InvalidDataException or ArgumentException or ArithmeticException or KeyNotFoundException
                or IndexOutOfRangeException)
            {
                throw new InvalidDataException($"{node}: {Unprefixed(e.Message)}", e);
            }
        }
        return Finish();
    }

    private Result Finish()
    {
        OnnxOperand[] results = [.. source.Outputs.Select(o => values.TryGetValue(o.Name, out OnnxOperand? v) ? v
            : throw new InvalidDataException($"its output {ReadGuard.Quote(o.Name)} is nowhere made"))];
        OnnxType[] types = [.. results.Select(r => r.Type)];
        OnnxOperand[] computed = [.. results.Select((r, i) => r.IsConstant ? emitter.Weight(r) : r)];
        emitter.Name("output", null);
        for (int i = 0; i < computed.Length; i++)
            if (computed[i].Value!.Producer is not null && Array.IndexOf(computed, computed[i]) == i)
                OnnxEmitter.NameOutput(computed[i], source.Outputs[i].Name);
        if (!options.OpenBatch && emitter.FirstInput is null) emitter.Input(emitter.Free("nothing"), OnnxType.Float, [1], [1]);
        if (emitter.FirstInput is null) throw new InvalidDataException("it has no input");
        Graph graph = emitter.Builder.Build([.. computed.Select(c => c.Value!)], anyImages: options.OpenBatch);
        graph.Refresh();
        foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
        emitter.LargeWeights.Read(graph.Weights);
        if (options is { Patterns: true, OpenBatch: true }) OnnxPatterns.Apply(graph);
        return new Result(graph, source, types);
    }

    private void Input(OnnxSourceValue input)
    {
        if (values.ContainsKey(input.Name)) return;      // a constant that older files name as an input, too
        if (options.Known?.GetValueOrDefault(input.Name) is { } known)
        {
            Add(input.Name, OfFile(input.Name, known));
            return;
        }
        string what = $"the input {ReadGuard.Quote(input.Name)}";
        if (input.Type == 0 || input.Shape is null) throw new InvalidDataException($"{what} is no tensor, or of no shape");
        if (!Enum.IsDefined((OnnxType)input.Type))
            throw new InvalidDataException($"{what} is of the type {input.Type}, which is not read");
        if (input.Shape.Length > Shape.MaxRank) throw new InvalidDataException($"{what} has {input.Shape.Length} axes");
        int[] two = new int[input.Shape.Length];
        for (int i = 0; i < two.Length; i++)
        {
            long? length = options.OpenBatch && i == 0 ? 2 : input.Shape[i] is { } n and not 0 ? n : i >= 2 ? options.ImageSize
                : null;
            two[i] = length is >= 0 and <= int.MaxValue ? (int)length : throw new InvalidDataException(
                $"{what} leaves the length of axis {i} open, or it is none; give the image size that it is to be");
        }
        int[] three = [.. two];
        if (options.OpenBatch && three.Length > 0) three[0] = 3;
        Add(input.Name, emitter.Input(input.Name, (OnnxType)input.Type, two, three));
    }

    private void Node(OnnxSourceNode node)
    {
        bool standard = node.Domain.Length == 0;
        if (!standard && node.Domain != OnnxReadMicrosoft.Domain)
            throw new InvalidDataException($"operators of {ReadGuard.Quote(node.Domain)} are not read");
        if (node.Attributes.Values.Any(a => a.IsGraph)) throw new InvalidDataException("control flow is not read");
        var view = new OnnxNodeView(node, source.Opset);
        if (standard && node.Operator == "Constant")
        {
            Add(node.Outputs[0], Constant(node.Outputs[0], view));
            return;
        }
        OnnxOperand?[] inputs = [.. node.Inputs.Select(n => n.Length == 0 ? null : values.TryGetValue(n, out OnnxOperand? v) ? v
            : throw new InvalidDataException(
                $"reads {ReadGuard.Quote(n)}, which is neither an input, a constant nor made before it"))];
        if (node.Outputs.Count == 0) throw new InvalidDataException("gives nothing");
        if (standard && Folded(view, inputs) is { } folded)
        {
            Add(node.Outputs[0], folded);
            return;
        }
        var call = new OnnxReadCall(emitter, view, inputs, fixedImages, options.OpenBatch);
        IReadOnlyList<OnnxOperand> results = OnnxReaders.Read(call);
        for (int i = 0; i < node.Outputs.Count; i++)
        {
            if (node.Outputs[i].Length == 0) continue;
            if (i >= results.Count) throw new InvalidDataException($"its output {i} is not read");
            Add(node.Outputs[i], results[i]);
        }
        string name = node.Name.Length > 0 ? node.Name : node.Outputs[0];
        emitter.Name(outputs.Contains(name) ? $"{name}.node" : name, results[0]);
    }

    /// <summary>What a node makes of constants; null where it depends on an input, or is not computed beforehand.</summary>
    private OnnxOperand? Folded(OnnxNodeView node, OnnxOperand?[] inputs)
    {
        string name = node.Source.Outputs[0];
        if (node.Operator is "Shape" or "Size" && inputs is [{ } x])
            return OnnxOperand.Constant(name, OnnxReadShapes.ShapeOf(node, x.Dims), OnnxReadShapes.ShapeOf(node, x.DimsOfThree));
        // Of the operand that it is to be like only the type counts.
        if (node.Operator == "CastLike" && inputs is [{ IsConstant: true, Stored: null or { Count: <= OnnxArray.Most } } c, { } like])
            return OnnxOperand.Constant(name, new OnnxFoldCall(node, [c.Two]).Cast(like.Type),
                c.Varies ? new OnnxFoldCall(node, [c.Three]).Cast(like.Type) : null, c.IsWeight && like.Type.IsFloat());
        if (inputs.Any(i => i is { IsConstant: false }) || node.Source.Outputs.Skip(1).Any(o => o.Length > 0)) return null;
        // PyTorch before 2.0 writes equal weights once and calls them by this: each is a weight of its own.
        if (node.Operator == "Identity" && inputs is [{ } same]) return same.Named(name);
        if (inputs.Any(i => i is { Stored.Count: > OnnxArray.Most })) return null;
        budget.Spend(inputs.Sum(i => i is null ? 0L : i.Stored?.Count ?? i.Two.Values.Length));
        if (OnnxFold.Run(node, [.. inputs.Select(i => i?.Two)]) is not { } two) return null;
        OnnxArray? three = inputs.Any(i => i is { Varies: true }) ? OnnxFold.Run(node, [.. inputs.Select(i => i?.Three)]) : null;
        budget.Spend(OnnxBudget.Computed * ((long)two.Values.Length + (three?.Values.Length ?? 0)));
        bool moved = inputs[0] is { IsWeight: true } && !two.IsWhole && node.Operator is "Transpose" or "Reshape" or "Unsqueeze"
            or "Squeeze" or "Gather" or "Concat" or "Expand" or "Slice" or "Flatten" or "Cast";
        return OnnxOperand.Constant(name, two, three, moved);
    }

    private static OnnxOperand Constant(string name, OnnxNodeView node)
    {
        if (node.Tensor("value") is { } tensor) return new OnnxOperand { Name = name, Type = tensor.Type, Stored = tensor };
        if (node.Longs("value_ints") is { } ints) return OnnxOperand.Constant(name, OnnxArray.Whole(ints));
        if (node.Floats("value_floats") is { } floats)
            return OnnxOperand.Constant(name, new OnnxArray(OnnxType.Float, [floats.Length], [.. floats.Select(f => (double)f)]));
        if (node.Has("value_int"))
            return OnnxOperand.Constant(name, new OnnxArray(OnnxType.Int64, [], [node.Int("value_int", 0)]));
        if (node.Has("value_float"))
            return OnnxOperand.Constant(name, new OnnxArray(OnnxType.Float, [], [node.Float("value_float", 0)]));
        throw new InvalidDataException("has no value that is read: text and sparse ones are not");
    }

    private static OnnxOperand OfFile(string name, OnnxSourceTensor tensor) =>
        new() { Name = name, Type = tensor.Type, Stored = tensor, IsWeight = tensor.IsFloat };

    private void Add(string name, OnnxOperand value)
    {
        if (name.Length == 0) throw new InvalidDataException("a value has no name");
        if (name.Any(char.IsControl)) throw new InvalidDataException($"a value is named {ReadGuard.Quote(name)}");
        if (!values.TryAdd(name, value)) throw new InvalidDataException($"two values are named {ReadGuard.Quote(name)}");
    }

    /// <summary>Without the name of the node that a builder puts in front.</summary>
    private static string Unprefixed(string message) =>
        message.StartsWith("node '%", StringComparison.Ordinal)
            ? message[(message.IndexOf("): ", StringComparison.Ordinal) + 3)..] : message;
}
