using Espalier.Formats;
using static Espalier.Tests.Formats.FormatFiles;

namespace Espalier.Tests.Formats;

public sealed class PickleReaderTests
{
    [Theory]
    [InlineData("batch2.pickle")]
    [InlineData("batch4.pickle")]
    [InlineData("batch5.pickle")]
    [InlineData("batch_python2.pickle")]
    public void ReadsTheBatchesOfCifar(string file)
    {
        using FileStream stream = File.OpenRead(Golden(file));
        var batch = Assert.IsType<PickleDictionary>(PickleReader.Read(stream, new PickleGlobals().AddNumpy(), file));
        var data = Assert.IsType<NumpyArray>(batch["data"]);
        Assert.Equal([2, 6], data.Shape);
        Assert.Equal(ElementType.U8, data.Type);
        Assert.Equal(Enumerable.Range(0, 12).Select(i => (byte)i), data.Bytes);
        Assert.Equal([3L, 9L], Assert.IsType<List<object?>>(batch["labels"]));
    }
}
