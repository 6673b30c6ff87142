namespace Espalier.Inference;

/// <summary>
/// What the time of a layer depends on: its family (kind, kernel, stride, size of its maps, what is fused into it) and its widths, as
/// the kernels see them: maps of whole vectors cost what the vectors do.
/// </summary>
/// <param name="A">Channels that are read, of attention heads.</param>
/// <param name="B">Channels that are made, of attention columns of queries; 0 where those are the same.</param>
/// <param name="C">Of attention columns of values.</param>
internal readonly record struct StepShape(string Family, int A, int B = 0, int C = 0)
{
    public static StepShape Of(Layer layer) => layer switch
    {
        ConvLayer { IsProduct: true } c => new($"product {(c.RowCodes is null ? $"{c.Precision}" : "codes")} {Size(c.Input)}{(c.Gelu ? " gelu" : "")}{Sum(c)}", c.Input.Channels,
            c.Output.Channels),
        ConvLayer c => Convolution(c),
        AttentionLayer a => new($"attention{(a.Tile is null ? "" : " int8")} {Size(a.Input)} over {Size(a.Inputs[1])}",
            a.Op.Heads.Count, a.Op.Heads.QueryWidth, a.Op.Heads.ValueWidth),
        ArrangeLayer a => new($"arrange {Size(a.Output)}{(a.IsSlice ? " slice" : a.IsConcat ? " concat" : "")}", a.Output.Channels),
        PoolLayer p => new($"{(p.IsMax ? "max" : "mean")} {p.Kernel}/{p.Stride} {Size(p.Input)}", p.Input.Stride),
        OpLayer o => new($"{o.Op.Name} {Size(o.Output)}", o.Output.Channels, o.Inputs.Length == 0 ? 0 : o.Input.Channels),
        _ => new($"{layer.GetType().Name} {Size(layer.Output)}", layer.Output.Stride),
    };

    private static StepShape Convolution(ConvLayer c)
    {
        Filters f = c.Filters;
        bool depthwise = f.Groups > 1 && f.Groups == f.Channels && f.Channels == f.Outputs;
        string groups = f.Groups == 1 ? "" : depthwise ? " depthwise" : $" of {f.Groups} groups";
        string family = $"{(c.Input.Codes is null ? "" : "codes ")}convolution {f.KernelHeight}x{f.KernelWidth}/{c.Stride}+{c.Padding.Top}{groups} {Size(c.Input)}"
            + $"{(c.InputScale is null ? "" : " norm")}{Sum(c)}";
        // What is read has whole vectors in memory, but products are of the channels that there are.
        return new(family, depthwise ? c.Input.Stride : f.Channels, depthwise ? 0 : Math.Min(Map.WholeVectors(f.Outputs), c.Output.Writable));
    }

    private static string Sum(ConvLayer c) => c.Residual is null ? "" : " sum";

    private static string Size(Map map) => map.Axis is null ? $"{map.Height}x{map.Width}" : $"{map.Axis.Most} rows";
}

/// <summary>A network as it would be compiled, without its weights.</summary>
/// <param name="Layers">In the order in which they run.</param>
/// <param name="FloatsPerImage">As in <see cref="Plan"/>.</param>
internal sealed record PlanShape(StepShape[] Layers, long FloatsPerImage, long WeightBytes, int Tokens);
