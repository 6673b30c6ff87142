namespace Espalier.Tensors.Tests.Ops;

/// <summary>Convolution, pooling, channel norms and resizing against PyTorch (tests/goldens/make_conv.py).</summary>
public class ConvGoldenTests
{
    private static readonly Golden Golden = Golden.Open("conv.safetensors");

    private static readonly Dictionary<string, Func<IReadOnlyDictionary<string, Tensor>, Tensor>> Runs = new()
    {
        ["Conv2d.plain"] = t => Conv(t),
        ["Conv2d.same"] = t => Conv(t, stride: 2, padding: Padding.Same(8, 7, 3, 3, 2)),
        ["Conv2d.root"] = t => Conv(t, stride: 2, padding: new Padding(2, 3, 2, 3)),
        ["Conv2d.pointwise"] = t => Conv(t),
        ["Conv2d.projection"] = t => Conv(t, stride: 2),
        ["Conv2d.strides"] = t => Conv(t, stride: new Strides(2, 1), padding: 1),
        ["Conv2d.dilated"] = t => Conv(t, padding: 2, dilation: 2),
        ["Conv2d.grouped"] = t => Conv(t, padding: 1, groups: 2),
        ["Conv2d.depthwise"] = t => Conv(t, padding: 1, groups: 4),
        ["Conv2d.depthwiseStride"] = t => Conv(t, stride: 2, padding: 2, groups: 3),
        ["Conv2d.depthwiseTimes2"] = t => Conv(t, padding: 2, dilation: 2, groups: 3),
        ["MaxPool2d.plain"] = t => F.MaxPool2d(t["x"], 2),
        ["MaxPool2d.padded"] = t => F.MaxPool2d(t["x"], 3, 2, 1),
        ["MaxPool2d.same"] = t => F.MaxPool2d(t["x"], 3, 2, Padding.Same(6, 8, 3, 3, 2)),
        ["AvgPool2d.plain"] = t => F.AvgPool2d(t["x"], 2),
        ["AvgPool2d.padded"] = t => F.AvgPool2d(t["x"], 3, 2, 1),
        ["AvgPool2d.excluding"] = t => F.AvgPool2d(t["x"], 3, 2, 1, countIncludePad: false),
        ["GlobalAvgPool2d"] = t => F.GlobalAvgPool2d(t["x"]),
        ["BatchNorm2d.train"] = Training,
        ["BatchNorm2d.rows"] = Training,
        ["BatchNorm2d.eval"] = t => F.BatchNorm2d(t["x"], t["gamma"], t["beta"], t["mean"], t["var"], training: false),
        ["GroupNorm.groups"] = t => F.GroupNorm(t["x"], t["gamma"], t["beta"], 3, 1e-6f),
        ["GroupNorm.channels"] = t => F.GroupNorm(t["x"], t["gamma"], t["beta"], 4),
        ["IndexSelect"] = t => F.IndexSelect(t["x"], t["index"]),
        ["IndexAdd"] = t => F.IndexAdd(t["x"], t["shift"], t["index"], t["branch"]),
        ["RunningMean"] = t => Running(t)["mean"],
        ["RunningVar"] = t => Running(t)["var"],
    };

    public static TheoryData<string> Cases => [.. Golden.Cases];

    [Theory, MemberData(nameof(Cases))]
    public void MatchesPyTorch(string name)
    {
        string[] parts = name.Split('.');
        Golden.Run(name, parts[0] switch
        {
            "WeightStandardise" => t => F.WeightStandardise(t["w"], Enum.Parse<WeightStandardisation>(parts[1])),
            "Interpolate" => t => Resize(t["x"], parts[1], parts[2]),
            _ => Runs[name],
        });
    }

    private static Tensor Conv(
        IReadOnlyDictionary<string, Tensor> t, Strides? stride = null, Padding padding = default, int dilation = 1, int groups = 1) =>
        F.Conv2d(t["x"], t["w"], t.GetValueOrDefault("b"), stride, padding, dilation, groups);

    private static Tensor Training(IReadOnlyDictionary<string, Tensor> t)
    {
        var channels = new Shape(t["x"].Shape[1]);
        return F.BatchNorm2d(t["x"], t["gamma"], t["beta"], Tensor.Zeros(channels), Tensor.Full(channels, 1), training: true);
    }

    private static IReadOnlyDictionary<string, Tensor> Running(IReadOnlyDictionary<string, Tensor> t)
    {
        var channels = new Shape(t["x"].Shape[1]);
        Tensor gamma = Tensor.Full(channels, 1), beta = Tensor.Zeros(channels);
        F.BatchNorm2d(t["x"], gamma, beta, t["mean"], t["var"], training: true, momentum: 0.3f);
        return t;
    }

    private static Tensor Resize(Tensor x, string mode, string size)
    {
        int[] sides = Array.ConvertAll(size.Split('x'), int.Parse);
        return F.Interpolate(x, sides[0], sides[1], Enum.Parse<ResizeMode>(mode));
    }
}
