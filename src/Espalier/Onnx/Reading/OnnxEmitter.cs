using Espalier.Formats.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Onnx;

/// <summary>Makes ops of what a file says: nodes and weights of the graph, with names of the file.</summary>
internal sealed class OnnxEmitter(OnnxBudget budget)
{
    private const int MostNodes = 1 << 18;

    private readonly GraphBuilder builder = new();
    private readonly HashSet<string> taken = new(StringComparer.Ordinal);
    private readonly Dictionary<(OnnxOperand, string), OnnxOperand> forms = [];
    private readonly List<GraphNode> fresh = [];
    private int made;

    public GraphBuilder Builder => builder;

    /// <summary>Those that are not read yet.</summary>
    public OnnxLargeWeights LargeWeights { get; } = new();

    /// <summary>The network's first input, whose axis 0 is the images.</summary>
    public OnnxOperand? FirstInput { get; private set; }

    /// <summary>Names that only one value may have: inputs, outputs.</summary>
    public void Reserve(string name) => taken.Add(name);

    public OnnxOperand Input(string name, OnnxType type, int[] two, int[] three)
    {
        var input = new OnnxOperand
        {
            Name = name, Type = type, Value = builder.Input(name, Tensor.Meta(new Shape(two))),
            More = Tensor.Meta(new Shape(three)),
        };
        FirstInput ??= input;
        return input;
    }

    /// <summary>An op on operands; constants among them become weights.</summary>
    public OnnxOperand Node(string op, OpSettings settings, params IReadOnlyList<OnnxOperand?> operands)
    {
        if (made > MostNodes) throw new InvalidDataException("it becomes more nodes than any network has");
        OnnxOperand?[] all = [.. operands.Select(o => o is { IsConstant: true } ? Weight(o) : o)];
        GraphValue value = builder.Node($"%{made++}", op, [.. all.Select(o => o?.Value)], settings);
        Tensor more;
        using (Recording.Pause())
        {
            Op other = value.Producer!.Op.On([.. all.Select(o => o?.More)]);
            more = Tensor.Meta(other.Result);
        }
        fresh.Add(value.Producer);
        return new OnnxOperand { Name = "", Type = all[0]!.Type, Value = value, More = more };
    }

    /// <summary>A constant as a weight of the graph.</summary>
    public OnnxOperand Weight(OnnxOperand constant)
    {
        if (constant.Varies) return EachImage(constant);
        return Weight(constant, "", constant.Dims, to => Read(constant, to));
    }

    /// <summary>A constant in another form, which <paramref name="fill"/> writes.</summary>
    public OnnxOperand Weight(OnnxOperand constant, string form, int[] dims, Action<Span<float>> fill)
    {
        if (constant.Value is not null) return constant;
        if (forms.TryGetValue((constant, form), out OnnxOperand? there)) return there;
        Tensor tensor = Tensor.Unscoped(new Shape(dims));
        bool waits = constant.Stored is not null && OnnxLargeWeights.IsLarge(tensor.Shape);
        if (!waits) fill(tensor.Span);
        tensor.RequiresGrad = constant.IsWeight && tensor.Rank > 0;
        string name = constant.Name.Length > 0 ? constant.Name : "constant";
        GraphValue value = builder.Weight(Free(form.Length > 0 && taken.Contains(name) ? $"{name}.{form}" : name), tensor);
        if (waits) LargeWeights.Add(value, fill);
        return forms[(constant, form)] = new OnnxOperand
        {
            Name = constant.Name, Type = constant.Type, Value = value, More = tensor, IsWeight = true,
        };
    }

    /// <summary>[rows, columns] as [columns, rows].</summary>
    public OnnxOperand Transposed(OnnxOperand matrix)
    {
        int rows = matrix.Dims[0], columns = matrix.Dims[1];
        return Weight(matrix, "transposed", [columns, rows], to =>
        {
            using Tensor values = Tensor.Unscoped(new Shape(rows, columns));
            Read(matrix, values.Span);
            unsafe
            {
                fixed (float* turned = to)
                    Transposition.Run(values.Data, columns, turned, rows, rows, columns, accumulate: false);
            }
        });
    }

    /// <summary>The same numbers under another shape, which is the same for any number of images.</summary>
    public OnnxOperand Shaped(OnnxOperand x, params int[] dims) => !x.IsConstant ? Reshape(x, dims, dims)
        : x.Dims.AsSpan().SequenceEqual(dims) ? Weight(x) : Weight(x, $"as.{string.Join('.', dims)}", dims, to => Read(x, to));

    /// <summary>Numbers of the reader's own.</summary>
    public OnnxOperand Made(int[] dims, Func<int, double> value)
    {
        int count = OnnxArray.Count(dims);
        budget.Spend(count);
        double[] values = [.. Enumerable.Range(0, count).Select(value)];
        return Weight(OnnxOperand.Constant("", new OnnxArray(OnnxType.Float, dims, values)));
    }

    /// <summary>Entries of each image by their places in it, -1 being <paramref name="fill"/>: see
    /// <see cref="PickOp"/>.</summary>
    public OnnxOperand Pick(OnnxOperand x, int[] places, IEnumerable<int> sizes, float fill = 0) =>
        Node("Pick", new OpSettings().Set("sizes", sizes).Set("value", fill), x, List(places));

    /// <summary>Whole numbers of the reader's own, as an op's list.</summary>
    public OnnxOperand List(int[] list) => Made([list.Length], i => list[i]);

    public static void Read(OnnxOperand constant, Span<float> to)
    {
        if (constant.Stored is { } stored) stored.Read(to);
        else for (int i = 0; i < to.Length; i++) to[i] = (float)constant.Two.Values[i];
    }

    /// <summary>
    /// A reshape that holds for any number of images: neighbouring axes that become neighbouring axes of as many entries, both
    /// for two images and for three; of each group the length of one axis is what the others leave.
    /// </summary>
    public OnnxOperand Reshape(OnnxOperand x, int[] two, int[] three)
    {
        int[] from2 = x.Dims, from3 = x.DimsOfThree;
        if (from2.AsSpan().SequenceEqual(two) && from3.AsSpan().SequenceEqual(three)) return x;
        var (from, to, sizes) = Groups(from2, from3, two, three);
        OnnxOperand y = Node("Reshape", new OpSettings().Set("from", from).Set("to", to).Set("sizes", sizes), x);
        return Fits(y, two, three) ? y : throw new InvalidDataException(
            $"[{string.Join(",", from2)}] to [{string.Join(",", two)}] is not for any number of images");
    }

    /// <summary>Axes that become neighbouring axes, and their lengths, for two images and for three: see
    /// <see cref="ReshapeOp"/>.</summary>
    public static (int[] From, int[] To, int[] Sizes) Groups(int[] from2, int[] from3, int[] two, int[] three)
    {
        List<int> from = [], to = [], sizes = [];
        int i = 0, j = 0;
        while (i < from2.Length && j < two.Length)
        {
            int i0 = i, j0 = j;
            (long a2, long a3, long b2, long b3) = (from2[i], from3[i++], two[j], three[j++]);
            while ((a2, a3) != (b2, b3) && (i < from2.Length || j < two.Length))
            {
                bool first = j == two.Length || (i < from2.Length && (a2 < b2 || (a2 == b2 && a3 < b3)));
                if (first) (a2, a3, i) = (a2 * from2[i], a3 * from3[i], i + 1);
                else (b2, b3, j) = (b2 * two[j], b3 * three[j], j + 1);
            }
            from.Add(i - i0);
            to.Add(j - j0);
        }
        if (from.Count == 0) (from, to) = ([0], [0]);
        // Axes of one entry at the ends belong to the group before them.
        from[^1] += from2.Length - i;
        to[^1] += two.Length - j;
        for (int g = 0, start = 0, at = 0; g < to.Count; start += from[g], at += to[g++])
        {
            int[] grow = [.. Enumerable.Range(at, to[g]).Where(a => two[a] != three[a])];
            if (grow.Length > 1) throw new InvalidDataException("it makes two axes that both grow with the number of images");
            int free = grow.Length == 1 || to[g] == 0 ? grow.FirstOrDefault() : ReshapeOp.Free(from2, start, from[g], two, at, to[g]);
            for (int a = at; a < at + to[g]; a++) sizes.Add(a == free ? -1 : two[a]);
        }
        return ([.. from], [.. to], [.. sizes]);
    }

    public OnnxOperand Permute(OnnxOperand x, params int[] axes) => axes.SequenceEqual(Enumerable.Range(0, axes.Length)) ? x
        : Node("Permute", new OpSettings().Set("axes", axes), x);

    public OnnxOperand Affine(OnnxOperand x, double scale, double shift) => scale == 1 && shift == 0 ? x
        : Node("Affine", new OpSettings().Set("scale", (float)scale).Set("shift", (float)shift), x);

    public OnnxOperand Element(ElementFunction function, OnnxOperand x, float a = 0, float b = 0) =>
        Node("Element", new OpSettings().Set("function", function).Set("a", a).Set("b", b), x);

    public OnnxOperand Pair(PairFunction function, OnnxOperand a, OnnxOperand b) =>
        Node("Pair", new OpSettings().Set("function", function), a, b);

    public OnnxOperand MatMul(OnnxOperand a, OnnxOperand b, bool turnA = false, bool turnB = false) =>
        Node("MatMul", new OpSettings().Set("transposeA", turnA).Set("transposeB", turnB), a, b);

    public OnnxOperand Slice(OnnxOperand x, int axis, int start, int length) =>
        Node("Slice", new OpSettings().Set("axis", axis).Set("start", start).Set("length", length), x);

    public OnnxOperand Clamp(OnnxOperand x, double low, double high) =>
        Node("Clamp", new OpSettings().Set("low", (float)low).Set("high", (float)high), x);

    public OnnxOperand Reduce(string op, OnnxOperand x, IReadOnlyList<int> axes, bool keep) =>
        Node(op, new OpSettings().Set("axes", axes).Set("keepDims", keep), x);

    /// <summary>
    /// Gives the nodes that were made since the last call their names: the last one that of the file's node, the others one that
    /// begins so.
    /// </summary>
    public void Name(string name, OnnxOperand? result)
    {
        foreach (GraphNode node in fresh)
        {
            bool last = node == result?.Value?.Producer;
            string part = char.ToLowerInvariant(node.Op.Name[0]) + node.Op.Name[1..];
            node.Output.Name = Free(last ? name : $"{name}.{part}");
        }
        fresh.Clear();
    }

    /// <summary>A name that nobody has yet.</summary>
    public string Free(string name)
    {
        string free = name;
        for (int i = 1; !taken.Add(free) || builder.Find(free) is not null; i++) free = $"{name}.{i}";
        return free;
    }

    /// <summary>Gives a value the name of one of the graph's outputs, which was kept for it.</summary>
    public static void NameOutput(OnnxOperand value, string name) => value.Value!.Name = name;

    private static bool Fits(OnnxOperand y, int[] two, int[] three) =>
        y.Dims.AsSpan().SequenceEqual(two) && y.DimsOfThree.AsSpan().SequenceEqual(three);

    /// <summary>A constant that is repeated for every image, such as a class token.</summary>
    private OnnxOperand EachImage(OnnxOperand constant)
    {
        OnnxArray two = constant.Two, three = constant.Three;
        bool same = two.Dims is [2, ..] && three.Dims is [3, ..] && two.Dims.AsSpan(1).SequenceEqual(three.Dims.AsSpan(1));
        int each = two.Values.Length / 2;
        same = same && three.Values.Length == 3 * each && Enumerable.Range(0, 3).All(n =>
            three.Values.AsSpan(n * each, each).SequenceEqual(two.Values.AsSpan(0, each)));
        if (!same) throw new InvalidDataException(
            "it reads a constant that depends on the number of images in another way than one for each");
        if (forms.TryGetValue((constant, "each"), out OnnxOperand? there)) return there;
        OnnxOperand one =
            OnnxOperand.Constant(constant.Name, two with { Dims = [1, .. two.Dims[1..]], Values = two.Values[..each] },
            isWeight: constant.IsWeight);
        return forms[(constant, "each")] = Node("Repeat", new OpSettings(), Weight(one), FirstInput!);
    }
}
