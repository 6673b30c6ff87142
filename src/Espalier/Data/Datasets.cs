namespace Espalier.Data;

/// <summary>The data sets that can be opened by name.</summary>
public static class Datasets
{
    public static IReadOnlyList<DatasetInfo> All { get; } = [FashionMnist.Info, FashionMnist.SampleInfo];

    /// <summary>Fashion-MNIST's embedded sample: needs no file and no network.</summary>
    public static DatasetPair OpenSample() => FashionMnist.OpenSample();
}
