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
        if (!Runs.TryGetValue(name, out var run)) run = Runs[name.Split('.')[0]];
        Golden.Run(name, run);
    }
}
