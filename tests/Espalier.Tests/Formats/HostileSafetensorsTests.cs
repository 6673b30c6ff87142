using System.Buffers.Binary;
using System.Text;
using Espalier.Formats;

namespace Espalier.Tests.Formats;

public sealed class HostileSafetensorsTests
{
    private const string A = """ "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]} """;

    [Theory]
    [InlineData("{" + A + "," + A + "}", 8, "twice")]
    [InlineData("{" + A + """,  "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "overlaps")]
    [InlineData("{" + A + """,  "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "overlaps")]
    [InlineData("{" + A + """,  "b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}""", 16, "hole")]
    [InlineData("{" + A + "}", 9, "1 bytes after")]
    [InlineData("{" + A + "}", 7, "cut short")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "8 bytes for 3 elements")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2,-1],"data_offsets":[0,8]}}""", 8, "dimension -2")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,8]}}""", 8, "more elements")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4294967298],"data_offsets":[0,8]}}""", 8, "dimension 4294967298")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "dimension")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "claims bytes 8 to 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "claims bytes -8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", 8, "more than 2 numbers")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}""", 8, "no whole number")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "no whole number")]
    [InlineData("""{"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}}""", 8, "no whole number")]
    [InlineData("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "'dtype' twice")]
    [InlineData("""{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}""", 8, "'F8_E4M3'")]
    [InlineData("""{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8, "needs dtype")]
    [InlineData("""{"a":[1]}""", 0, "not an object")]
    [InlineData("""{"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "name of 0")]
    [InlineData("""{"__metadata__":{"a":"1","a":"2"}}""", 0, "twice")]
    [InlineData("""{"__metadata__":{},"__metadata__":{}}""", 0, "twice")]
    [InlineData("""{"__metadata__":{"a":1}}""", 0, "text belongs")]
    [InlineData("""{"__metadata__":{"a":"\ud800"}}""", 0, "surrogate")]
    [InlineData("""{"a":{"b":{"c":{"d":{"e":1}}}}}""", 0, "'b'")]
    [InlineData("{} {}", 0, "JSON")]
    [InlineData("[]", 0, "not")]
    public void RefusesWithTheReason(string json, int dataLength, string reason)
    {
        string message = Assert.Throws<EspalierException>(() => Read(Encoding.UTF8.GetBytes(json), dataLength)).Message;
        Assert.Contains(reason, message);
        Assert.StartsWith("file: ", message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void TheGoodFormOfThoseIsRead() => Assert.Equal([0f, 0f], Read(Encoding.UTF8.GetBytes("{" + A + "}"), 8)["a"].Data);

    [Fact]
    public void AnEmptyArrayIsReadUnlessItsOtherDimensionsOverflow()
    {
        string Json(string shape) => $$$"""{"a":{"dtype":"F32","shape":[{{{shape}}}],"data_offsets":[0,0]}}""";
        Assert.Empty(Read(Encoding.UTF8.GetBytes(Json("50000,0,3")), 0)["a"].Data);
        Assert.Contains("more elements", Assert.Throws<EspalierException>(() => Read(Encoding.UTF8.GetBytes(Json("50000,50000,1,0")), 0)).Message);
    }

    [Fact]
    public void RefusesDeepJson() => Assert.Throws<EspalierException>(() =>
        Read(Encoding.UTF8.GetBytes("""{"a":""" + new string('[', 1_000_000)), 0));

    [Fact]
    public void RefusesTextThatIsNotUtf8() => Assert.Throws<EspalierException>(() => Read([.. "{\""u8, 0xff, .. "\":1}"u8], 0));

    [Theory]
    [InlineData(long.MaxValue)]
    [InlineData(-1)]
    [InlineData(100_000_001)]
    [InlineData(1000)]
    public void RefusesHeadersLongerThanTheFile(long length)
    {
        byte[] bytes = File(Encoding.UTF8.GetBytes("{" + A + "}"), 8);
        BinaryPrimitives.WriteInt64LittleEndian(bytes, length);
        Assert.Throws<EspalierException>(() => CheckpointFile.Read(new MemoryStream(bytes), "file"));
    }

    /// <summary>A million names of nothing are some ten megabytes of file, and would be hundreds here.</summary>
    [Theory]
    [InlineData("", "\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", "entries")]
    [InlineData("\"__metadata__\":{", "", "texts")]
    public void RefusesMoreEntriesThanAnyNetworkHas(string before, string entry, string reason)
    {
        IEnumerable<string> all = Enumerable.Range(0, 1_000_000).Select(i => entry.Length == 0 ? $"\"{i}\":\"\"" : $"\"{i}\":{{{entry}");
        byte[] json = Encoding.UTF8.GetBytes("{" + before + string.Join(',', all) + (before.Length > 0 ? "}}" : "}"));
        byte[] file = File(json, 0);
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        string message = Assert.Throws<EspalierException>(() => CheckpointFile.Read(new MemoryStream(file), "file")).Message;
        Assert.Contains($"more than 65536 {reason}", message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - allocated, 0, file.Length + (100 << 20));
    }

    [Fact]
    public void NamesCannotForgeASecondLine()
    {
        string json = """{"a\n\u2028file: all is well":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""";
        string message = Assert.Throws<EspalierException>(() => Read(Encoding.UTF8.GetBytes(json), 8)).Message;
        Assert.Contains("'a??file: all is well'", message);
    }

    private static Checkpoint Read(byte[] json, int dataLength) =>
        CheckpointFile.Read(new MemoryStream(File(json, dataLength)), "file");

    private static byte[] File(byte[] json, int dataLength)
    {
        byte[] bytes = new byte[8 + json.Length + dataLength];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, json.Length);
        json.CopyTo(bytes, 8);
        return bytes;
    }
}
