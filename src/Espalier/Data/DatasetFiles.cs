namespace Espalier.Data;

/// <summary>Where the publishers keep the data sets, and the digests of what they published.</summary>
internal static class DatasetFiles
{
    private const string Zalando = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/";
    private const string ZalandoBucket = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/";
    private const string Toronto = "https://www.cs.toronto.edu/~kriz/";

    /// <summary>The files to fetch; empty for a data set that is not published anywhere.</summary>
    public static IReadOnlyList<RemoteFile> Of(string dataset) => dataset switch
    {
        "fashion-mnist" =>
        [
            Fashion("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            Fashion("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            Fashion("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            Fashion("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ],
        "cifar10" => [Cifar("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")],
        "cifar100" => [Cifar("cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec")],
        _ => [],
    };

    private static RemoteFile Fashion(string name, string sha256) =>
        new(name, [Zalando + name, ZalandoBucket + name], "sha256:" + sha256, 64L << 20);

    private static RemoteFile Cifar(string name, string sha256) => new(name, [Toronto + name], "sha256:" + sha256, 256L << 20);
}
