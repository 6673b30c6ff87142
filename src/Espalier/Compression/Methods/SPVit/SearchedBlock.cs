using Espalier.Tensors;

namespace Espalier.Compression.Methods.SPVit;

/// <summary>What a block costs, by what stands in attention's place and how many hidden units it has: multiply-adds or weights.
/// </summary>
/// <param name="Conv1">Of the 1 x 1 convolution and the projection behind it.</param>
/// <param name="Conv3">The same of the 3 x 3 one.</param>
/// <param name="Unit">Of one hidden unit.</param>
internal readonly record struct BlockCost(double Conv1, double Conv3, double Attention, double Unit)
{
    /// <param name="operation">See <see cref="SearchedBlock.Attention"/>.</param>
    public double Of(int operation, int units) =>
        (operation switch { 0 => 0, 1 => Conv1, 2 => Conv3, _ => Attention }) + units * Unit;
}

/// <summary>
/// A block on the way to what it will be (arXiv 2111.11802, sections 3.1 and 3.2): beside attention run the convolutions that its
/// own value and projection weights make, each times a number that gates give; and a gate stands behind each hidden unit.
/// </summary>
/// <param name="grid">Lines and columns of the tokens behind the prefix.</param>
internal sealed class SearchedBlock(
    Graph graph, TransformerBlock block, int prefix, (int Height, int Width) grid, SPVit options, bool operations, bool units)
{
    /// <summary>What can stand in attention's place, from nothing over a 1 x 1 and a 3 x 3 convolution to itself.</summary>
    public const int Nothing = 0, Conv1 = 1, Conv3 = 2, Attention = 3;

    private const int Taps = 9, Centre = 4;
    private const float Epsilon = 1e-5f;

    private readonly int heads = block.Heads.Count, width = block.Heads.ValueWidthOf(0);
    private readonly int stream = block.Projection.Output.Shape[1];
    private readonly string name = Layer(block.Projection.Operands[1]!.Name, 2);
    private Tensor[] factors = [];
    private BatchNorm norm1 = null!, norm3 = null!;
    private GraphNode? mixed;

    /// <summary>The gates of the operations, the simplest first; null where attention is left alone.</summary>
    public GateNumbers? Operations { get; } = operations ? new GateNumbers(Attention, options.Initial) : null;

    /// <summary>Those of hidden units; null where they are left alone.</summary>
    public GateNumbers? Units { get; } = units ? new GateNumbers(block.Fc2.Operands[1]!.Shape[1], options.Initial) : null;

    /// <summary>Whether there is a class token, which no convolution reaches.</summary>
    public bool HasPrefix => prefix > 0;

    public int UnitCount => block.Fc2.Operands[1]!.Shape[1];

    public Tensor FirstWeight => block.Fc1.Operands[1]!.Tensor;

    /// <summary>The gate behind the hidden units, once it is put in; null where they are left alone.</summary>
    public Gate? Hidden { get; private set; }

    /// <summary>What taps (column by column) are mixed by of the heads, [9, heads]; there once it is put in.</summary>
    public Tensor Mixing { get; private set; } = null!;

    /// <summary>What stands in attention's place by the gates that are open now.</summary>
    public int Operation => Operations?.Hard.TakeWhile(open => open == 1).Count() ?? Attention;

    /// <summary>The least that may stand there.</summary>
    public int LeastOperation => Operations is null ? Attention : Nothing;

    public int OpenUnits => Units is null ? UnitCount : (int)Units.Hard.Sum();

    /// <summary>For one image, as the block's nodes say.</summary>
    public BlockCost MultiplyAdds()
    {
        int images = graph.Inputs[0].Shape[0];
        double Of(params GraphNode[] nodes) => nodes.Sum(n => (double)n.Op.Cost.MultiplyAdds) / images;
        double pair = (double)width * stream * grid.Height * grid.Width;
        double attention = Of(block.Query, block.Key, block.Value, block.Attention, block.Projection);
        return new BlockCost(2 * pair, (Taps + 1) * pair, attention, Of([.. HiddenLayers.Of(block), block.Fc2]) / UnitCount);
    }

    /// <summary>Of matrices and kernels.</summary>
    public BlockCost Weights()
    {
        double Of(params GraphNode[] nodes) => nodes.Sum(n => (double)n.Operands[1]!.Tensor.Length);
        double pair = (double)width * stream;
        return new BlockCost(2 * pair, (Taps + 1) * pair, Of(block.Query, block.Key, block.Value, block.Projection),
            Of([.. HiddenLayers.Of(block), block.Fc2]) / UnitCount);
    }

    /// <exception cref="EspalierException">Attention is no sum of heads that a convolution could stand for.</exception>
    public void Check()
    {
        string? wrong = !operations ? null
            : Enumerable.Range(0, heads).Any(h => block.Heads.ValueWidthOf(h) != width)
                ? $"has {block.Heads}, not heads of one width"
            : block.QueryNorm != block.AttentionNorm ? "attends from other tokens than to"
            : !block.AttentionSum.Operands.Contains(block.Input) || block.AttentionSum.Op is not AddOp
                ? "is added to the stream in another way than by a plain sum"
            : new[] { block.Value, block.Projection }.Any(n => n.Op is not LinearOp { Residual: null }
                || !n.Operands.Skip(1).Take(2).All(w => w is null or { IsWeight: true })) ? "has weights that are computed"
            : block.Input.Tensor.Rows is not { IsUniform: true, InOrder: true } rows
                || rows.MaxLength != prefix + grid.Height * grid.Width ? "sees only a part of the tokens, or merged ones" : null;
        if (wrong is not null)
            throw new EspalierException($"spvit: the attention '{block.Attention.Name}' {wrong}; leave "
                + $"'{LayersOf(block).Attention}' alone with Keep");
    }

    /// <summary>Puts branches and gates in; with all gates open the network gives what it gave, bit for bit.</summary>
    public void Insert()
    {
        if (Operations is not null)
        {
            (Mixing, norm1, norm3) = (Tensor.Parameter(new Shape(Taps, heads)), new BatchNorm(width), new BatchNorm(width));
            Mixing.Fill(1);
            factors = [.. Enumerable.Range(0, Attention).Select(_ => Tensor.Parameter(new Shape(1)))];
            string own = $"{name}.search.";
            mixed = graph.InsertAfter(block.Projection.Output, [block.Value.Operands[0]!], Mix,
            [
                (own + "mixing", Mixing), .. norm1.Named(own + "norm1."), .. norm3.Named(own + "norm3."),
                .. factors.Select((f, i) => ($"{own}factor.{i + 1}", f)),
            ]).Producer;
        }
        if (Units is not null) Hidden = Gate.Insert(graph, block.Fc2.Operands[0]!);
        Open();
    }

    /// <summary>Lets the network run what gates say now.</summary>
    public void Open()
    {
        if (Operations is { } z)
            for (int k = 0; k < factors.Length; k++) factors[k].Span[0] = (float)SPGates.Factors(z.Hard)[k];
        for (int i = 0; Hidden is not null && i < UnitCount; i++) Hidden.Factors.Span[i] = (float)Units!.Hard[i];
    }

    /// <summary>Lets the gates learn from the gradients of what they opened, which are used up.</summary>
    public void TakeGradients()
    {
        Operations?.Learn(SPGates.Gradient(Operations.Hard, [.. factors.Select(f => (double)(f.Grad?.Span[0] ?? 0))]));
        Units?.Learn(Array.ConvertAll(Hidden!.Factors.Grad?.ToArray() ?? new float[UnitCount], x => (double)x));
        foreach (Tensor factor in factors) factor.ClearGrad();
        Hidden?.Factors.ClearGrad();
    }

    /// <summary>As before the search: all taps are the mean of the heads, norms know nothing.</summary>
    public void Restart()
    {
        if (mixed is null) return;
        Mixing.Fill(1);
        foreach (BatchNorm norm in new[] { norm1, norm3 }) norm.Clear();
    }

    /// <summary>Where nothing stays, the norm is what is added to the stream, as in the published fine-tuning.</summary>
    public void AddNorm(GraphEdit edit)
    {
        if (options.AddNorm && mixed is not null && Operation == Nothing) edit.Take(mixed, block.Value.Operands[0]!);
    }

    /// <summary>Ends the search: the operation that is open stays.</summary>
    public void Become(GraphEdit edit)
    {
        if (mixed is null) return;
        if (Operation == Attention) edit.Take(mixed, block.Projection.Output);
        else if (Operation != Nothing) edit.Take(mixed, Operation == Conv1 ? Convolution(1, norm1) : Convolution(Taps, norm3));
        else if (!options.AddNorm) edit.Take(block.AttentionSum, block.Input);
    }

    /// <summary>z3 attention + z2 (1 - z3) conv3 + z1 (1 - z2) (1 - z3) conv1.</summary>
    private Tensor Mix(Tensor[] t)
    {
        Tensor map = F.RowsToMaps(t[1], prefix, grid.Height, grid.Width);
        Tensor y = F.Add(F.Mul(t[0], factors[2]), F.Mul(Convolved(t[1], map, Kernels(Taps), norm3, OutputBias), factors[1]));
        return F.Add(y, F.Mul(Convolved(t[1], map, Kernels(1), norm1, OutputBias), factors[0]));
    }

    /// <summary>
    /// The weights of a convolution of so many taps. A head whose attention is a shift to a neighbour is a tap: its values'
    /// weights are the kernel there, and its columns of the projection what leads back. A tap is a mixture of the heads.
    /// </summary>
    /// <returns>Kernel [d, D, k, k], bias [d] or none, and what leads back [D, d, 1, 1].</returns>
    internal (Tensor Kernel, Tensor? Bias, Tensor Back) Kernels(int taps)
    {
        int side = taps == 1 ? 1 : 3, inputs = block.Value.Operands[1]!.Shape[1];
        Tensor shares = F.Softmax(F.Mul(Mixing, (float)(1 / options.Temperature)));
        if (taps == 1) shares = F.Slice(shares, 0, Centre, 1);
        Tensor kernel = F.MatMul(shares, F.Reshape(block.Value.Operands[1]!.Tensor, heads, width * inputs));
        // Tap p looks p % 3 - 1 lines down and p / 3 - 1 columns across.
        kernel = F.Permute(F.Reshape(kernel, side, side, width, inputs), 2, 3, 1, 0);
        Tensor? bias = block.Value.Operands.ElementAtOrDefault(2) is { } b
            ? F.Sum(F.MatMul(shares, F.Reshape(b.Tensor, heads, width)), 0) : null;
        Tensor back = F.Permute(F.Reshape(block.Projection.Operands[1]!.Tensor, stream, heads, width), 1, 0, 2);
        back = F.Sum(F.MatMul(shares, F.Reshape(back, heads, stream * width)), 0);
        return (kernel, bias, F.Reshape(back, stream, width, 1, 1));
    }

    private Tensor? OutputBias => block.Projection.Operands.ElementAtOrDefault(2)?.Tensor;

    /// <param name="x">What attention's values are made of, [rows, D].</param>
    /// <param name="map">The same as [B, D, H, W].</param>
    private Tensor Convolved(
        Tensor x, Tensor map, (Tensor Kernel, Tensor? Bias, Tensor Back) weights, BatchNorm norm, Tensor? last)
    {
        Tensor y = F.Conv2d(map, weights.Kernel, weights.Bias, 1, weights.Kernel.Shape[2] / 2);
        y = F.Relu(F.BatchNorm2d(y, norm.Gamma, norm.Beta, norm.Mean, norm.Variance, training: false, epsilon: Epsilon));
        y = F.Conv2d(y, weights.Back, last);
        return F.MapsToRows(y, options.AddNorm && prefix > 0 ? F.TakeRows(x, 0, prefix) : null, prefix);
    }

    /// <summary>The convolution with weights of its own.</summary>
    private GraphValue Convolution(int taps, BatchNorm learnt)
    {
        (Tensor Kernel, Tensor? Bias, Tensor Back) own;
        using (new Scope())
        using (Recording.Pause())
        {
            var made = Kernels(taps);
            own = (Parameter(made.Kernel), made.Bias is null ? null : Parameter(made.Bias), Parameter(made.Back));
        }
        Tensor? last = OutputBias is { } bias ? Parameter(bias) : null;
        BatchNorm norm = learnt.Clone();
        string layer = $"{name}.bconv.";
        (string Name, Tensor Value)[] biases = own.Bias is null ? [] : [(layer + "0.bias", own.Bias)];
        if (last is not null) biases = [.. biases, (layer + "3.bias", last)];
        return graph.Add([block.Value.Operands[0]!],
            t => Convolved(t[0], F.RowsToMaps(t[0], prefix, grid.Height, grid.Width), own, norm, last),
            [(layer + "0.weight", own.Kernel), .. biases, .. norm.Named(layer + "1."), (layer + "3.weight", own.Back)]);
    }

    /// <summary>The names of the layers that <see cref="SelectionOptions.Keep"/> may leave alone.</summary>
    public static (string Attention, string Mlp) LayersOf(TransformerBlock block) =>
        (Layer(block.Projection.Operands[1]!.Name, 1), Layer(block.Fc1.Operands[1]!.Name, 1));

    /// <summary>A name without its last parts.</summary>
    private static string Layer(string weight, int parts) =>
        string.Join('.', weight.Split('.')[..^Math.Min(parts, weight.Count(c => c == '.'))]);

    private static Tensor Parameter(Tensor values)
    {
        Tensor copy = Tensor.Parameter(values.Shape);
        copy.CopyFrom(values);
        return copy;
    }

    /// <summary>A batch norm's parameters and statistics, those of the beginning at first.</summary>
    private sealed class BatchNorm
    {
        public BatchNorm(int channels)
        {
            var shape = new Shape(channels);
            (Gamma, Beta) = (Tensor.Parameter(shape), Tensor.Parameter(shape));
            (Mean, Variance) = (Tensor.Unscoped(shape), Tensor.Unscoped(shape));
            Clear();
        }

        public Tensor Gamma { get; }

        public Tensor Beta { get; }

        public Tensor Mean { get; }

        public Tensor Variance { get; }

        public void Clear()
        {
            foreach (Tensor one in new[] { Gamma, Variance }) one.Fill(1);
            foreach (Tensor zero in new[] { Beta, Mean }) zero.Fill(0);
        }

        public BatchNorm Clone()
        {
            var copy = new BatchNorm((int)Gamma.Length);
            foreach (var (to, from) in copy.Named("").Zip(Named(""))) to.Value.CopyFrom(from.Value);
            return copy;
        }

        public (string Name, Tensor Value)[] Named(string layer) =>
        [
            (layer + "weight", Gamma), (layer + "bias", Beta), (layer + "running_mean", Mean), (layer + "running_var", Variance),
        ];
    }
}
