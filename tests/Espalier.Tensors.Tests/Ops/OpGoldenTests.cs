namespace Espalier.Tensors.Tests.Ops;

/// <summary>Every op against PyTorch; the cases are made by tests/goldens/make_ops.py.</summary>
public class OpGoldenTests
{
    private static readonly int[] Labels = [2, 0, 6, 3, 2];
    private static readonly float[] Weights = [0.5f, 0, 2, 1, -1];

    private static readonly Golden Golden = Golden.Open("ops.safetensors");

    /// <summary>A case "Op.variant" runs the entry of its full name, or else that of the op.</summary>
    private static readonly Dictionary<string, Func<IReadOnlyDictionary<string, Tensor>, Tensor>> Runs = new()
    {
        ["Add"] = t => F.Add(t["a"], t["b"]),
        ["Sub"] = t => F.Sub(t["a"], t["b"]),
        ["Mul"] = t => F.Mul(t["a"], t["b"]),
        ["Div"] = t => F.Div(t["a"], t["b"]),
        ["Neg"] = t => F.Neg(t["x"]),
        ["Exp"] = t => F.Exp(t["x"]),
        ["Log"] = t => F.Log(t["x"]),
        ["Sqrt"] = t => F.Sqrt(t["x"]),
        ["Square"] = t => F.Square(t["x"]),
        ["Pow.fraction"] = t => F.Pow(t["x"], 1.7f),
        ["Pow.negative"] = t => F.Pow(t["x"], -2),
        ["Pow.cube"] = t => F.Pow(t["x"], 3),
        ["Abs"] = t => F.Abs(t["x"]),
        ["Tanh"] = t => F.Tanh(t["x"]),
        ["Sigmoid"] = t => F.Sigmoid(t["x"]),
        ["Relu"] = t => F.Relu(t["x"]),
        ["Gelu"] = t => F.Gelu(t["x"]),
        ["Silu"] = t => F.Silu(t["x"]),
        ["Clamp"] = t => F.Clamp(t["x"], -1, 0.5f),
        ["Affine"] = t => F.Affine(t["x"], 2.5f, -0.75f),
        ["MatMul.deep"] = t => F.MatMul(t["a"], t["b"]),
        ["Pick"] = t => F.Pick(t["x"], Tensor.From(new Shape(6), [3, 0, 14, 3, 7, 7]), [2, 3]),
        ["Quantise.tensor"] = t => F.Quantise(t["x"], Tensor.Scalar(0.02f), Tensor.Scalar(131), 0, 255),
        ["Quantise.axis"] = t => F.Quantise(t["x"], Tensor.From(new Shape(3), [0.1f, 0.02f, 0.3f]), null, -7, 7, axis: 1),
        ["Repeat"] = t => F.Repeat(t["x"], new Tensor(new Shape(4))),
        ["Where"] = t => F.Where(t["c"], t["a"], t["b"]),
        ["MatMul.plain"] = t => F.MatMul(t["a"], t["b"]),
        ["MatMul.ta"] = t => F.MatMul(t["a"], t["b"], transposeA: true),
        ["MatMul.tb"] = t => F.MatMul(t["a"], t["b"], transposeB: true),
        ["MatMul.both"] = t => F.MatMul(t["a"], t["b"], true, true),
        ["MatMul.batch"] = t => F.MatMul(t["a"], t["b"]),
        ["MatMul.batchTa"] = t => F.MatMul(t["a"], t["b"], transposeA: true),
        ["MatMul.batchTb"] = t => F.MatMul(t["a"], t["b"], transposeB: true),
        ["MatMul.batchBoth"] = t => F.MatMul(t["a"], t["b"], true, true),
        ["Sum.all"] = t => F.Sum(t["x"]),
        ["Sum.last"] = t => F.Sum(t["x"], -1),
        ["Sum.first"] = t => F.Sum(t["x"], 0),
        ["Sum.plane"] = t => F.Sum(t["x"], [2, 3], keepDims: true),
        ["Sum.apart"] = t => F.Sum(t["x"], 0, 2),
        ["Mean.all"] = t => F.Mean(t["x"]),
        ["Mean.last"] = t => F.Mean(t["x"], -1),
        ["Mean.first"] = t => F.Mean(t["x"], 0),
        ["Mean.plane"] = t => F.Mean(t["x"], [2, 3], keepDims: true),
        ["Mean.apart"] = t => F.Mean(t["x"], 0, 2),
        ["Max.all"] = t => F.Max(t["x"]),
        ["Max.last"] = t => F.Max(t["x"], -1),
        ["Max.first"] = t => F.Max(t["x"], 0),
        ["Max.plane"] = t => F.Max(t["x"], [2, 3], keepDims: true),
        ["Max.apart"] = t => F.Max(t["x"], 0, 2),
        ["LogSoftmax"] = t => F.LogSoftmax(t["x"]),
        ["KlDivergence"] = t => F.KlDivergence(t["s"], t["t"], 2.5f),
        ["Mse"] = t => F.Mse(t["x"], t["target"]),
        ["Slice.rows"] = t => F.Slice(t["x"], 0, 1, 2),
        ["Slice.middle"] = t => F.Slice(t["x"], 1, 2, 3),
        ["Slice.last"] = t => F.Slice(t["x"], -1, 0, 2),
        ["Reshape"] = t => F.Reshape(t["x"], 2, -1),
        ["Permute.matrix"] = t => F.Transpose(t["x"]),
        ["Permute.nchwToNhwc"] = t => F.Permute(t["x"], 0, 2, 3, 1),
        ["Permute.reverse"] = t => F.Permute(t["x"], 3, 2, 1, 0),
        ["Permute.heads"] = t => F.Transpose(t["x"], 1, 2),
        ["Permute.swapLast"] = t => F.Permute(t["x"], 0, -1, 1),
        ["Permute.swapFirst"] = t => F.Transpose(t["x"], 0, 1),
        ["Pad.plane"] = t => F.Pad(t["x"], [(0, 3), (1, 2)], 0.5f),
        ["Pad.channels"] = t => F.Pad(t["x"], [(2, 1), (0, 0), (0, 0)]),
        ["GatherRows"] = t => F.GatherRows(t["x"], [4, 0, 0, 2, 4, 4]),
        ["Softmax"] = t => F.Softmax(t["x"]),
        ["CrossEntropy.labels"] = t => F.CrossEntropy(t["z"], Labels),
        ["CrossEntropy.smoothed"] = t => F.CrossEntropy(t["z"], Labels, 0.1f),
        ["CrossEntropy.weighted"] = t => F.CrossEntropy(t["z"], Labels, 0.1f, Weights),
        ["CrossEntropy.soft"] = t => F.CrossEntropy(t["z"], t["q"]),
        ["CrossEntropy.softWeighted"] = t => F.CrossEntropy(t["z"], t["q"], Weights),
        ["Concat.rows"] = t => F.Concat(0, t["a"], t["b"], t["c"]),
        ["Concat.middle"] = t => F.Concat(1, t["a"], t["b"]),
        ["Concat.last"] = t => F.Concat(-1, t["a"], t["b"]),
    };

    public static TheoryData<string> Cases => [.. Golden.Cases];

    [Theory, MemberData(nameof(Cases))]
    public void MatchesPyTorch(string name)
    {
        string[] parts = name.Split('.');
        Golden.Run(name, parts[0] switch
        {
            "Element" => t => F.Element(t["x"], Enum.Parse<ElementFunction>(parts[1]), 0.7f, 0.4f),
            "Pair" => t => F.Pair(t["a"], t["b"], Enum.Parse<PairFunction>(parts[1])),
            _ => Runs.TryGetValue(name, out var run) ? run : Runs[parts[0]],
        });
    }

    [Fact]
    public void EveryEntryHasACase() =>
        Assert.All(Runs.Keys, key => Assert.Contains(Golden.Cases, name => name == key || name.Split('.')[0] == key));
}
