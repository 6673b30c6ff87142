using System.Text;
using Espalier.Formats;

namespace Espalier.Tests.Formats;

public sealed class HostilePickleTests
{
    private static readonly PickleGlobals Allowed = new PickleGlobals().AddNumpy()
        .Add("test", "id", arguments => arguments[0]).AddInert("test", "Inert");

    [Theory]
    [InlineData("cos\nsystem\n(X\u0002\0\0\0lstR.", "'os.system'")]
    [InlineData("c__builtin__\neval\n.", "'builtins.eval'")]
    [InlineData("\u008c\u0002nt\u008c\u0006system\u0093.", "'nt.system'")]
    [InlineData("ctest\nid.__globals__\n.", "'test.id.__globals__'")]
    [InlineData("(ios\nsystem\n.", "opcode 0x69")]
    [InlineData("I1\n.", "opcode 0x49")]
    [InlineData("X\u0002\0\0\0os)R.", "not a function")]
    [InlineData("ctest\nid\nK\u0001R.", "not a function with a tuple")]
    [InlineData("K\u0001}b.", "takes none")]
    [InlineData("K\u0001Q.", "persistent")]
    [InlineData("K\u0001K\u0002.", "left over")]
    [InlineData("(K\u0001.", "left over")]
    [InlineData(".", "empty stack")]
    [InlineData("(0K\u00010.", "empty stack")]
    [InlineData("]K\u0001(\u0086.", "empty stack")]
    [InlineData("t.", "did not open")]
    [InlineData("K\u0001K\u0002a.", "not a list")]
    [InlineData("}(K\u0001u.", "without a value")]
    [InlineData("]K\u0001K\u0002s.", "not a dictionary")]
    [InlineData("h\u0000.", "did not store")]
    [InlineData("Nr\u00ff\u00ff\u00ff\u007f.", "memo index")]
    [InlineData("\u008b\u00ff\u00ff\u00ff\u007f.", "integer of")]
    [InlineData("X\u00ff\u00ff\u00ff\u00ffab.", "truncated")]
    [InlineData("\u008e\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ffab.", "truncated")]
    [InlineData("X\u0001\0\0\0\u00ff.", "UTF-8")]
    [InlineData("\u0080\u0006N.", "protocol 6")]
    [InlineData("\u0080\u0001N.", "protocol 1")]
    [InlineData("N", "truncated")]
    [InlineData("", "truncated")]
    public void RefusesWithTheReason(string pickle, string reason)
    {
        string message = Refusal(Encoding.Latin1.GetBytes(pickle));
        Assert.Contains(reason, message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void PlainValuesOfEveryKindAreRead()
    {
        byte[] pickle = Encoding.Latin1.GetBytes(
            "\u0080\u0004(N\u0088\u0089K\u0005M\u0001\u0001J\u00fe\u00ff\u00ff\u00ff\u008a\u0002\u0000\u0080"
            + "G?\u00f8\0\0\0\0\0\0X\u0002\0\0\0\u00c3\u00bcU\u0001aC\u0001b]K\u0001a(K\u0002lt\u0094.");
        var values = Assert.IsType<object?[]>(Read(pickle));
        Assert.Equal([null, true, false, 5L, 257L, -2L, -32768L, 1.5, "ü"], values[..9]);
        Assert.Equal("a"u8, Assert.IsType<byte[]>(values[9]));
        Assert.Equal("b"u8, Assert.IsType<byte[]>(values[10]));
        Assert.Equal([1L], Assert.IsType<List<object?>>(values[11]));
        Assert.Equal([2L], Assert.IsType<List<object?>>(values[12]));
    }

    [Fact]
    public void RefusesDeepNesting() => Assert.Contains("deep", Refusal([.. Enumerable.Repeat((byte)'(', 1_000_000)]));

    [Fact]
    public void RefusesAnEndlessStack() => Assert.Contains("stack", Refusal([.. Enumerable.Repeat((byte)'N', 3_000_000)]));

    [Fact]
    public void RefusesMillionsOfContainers()
    {
        byte[] pickle = new byte[4_000_000];
        for (int i = 0; i < pickle.Length; i += 2) (pickle[i], pickle[i + 1]) = ((byte)'}', (byte)'0');
        Assert.Contains("dictionaries", Refusal(pickle));
    }

    /// <summary>A text of 1 MB in the memo, made into bytes again and again: six bytes of file for each new megabyte.</summary>
    [Fact]
    public void RefusesToCopyOneLargeValueManyTimes()
    {
        var pickle = new MemoryStream();
        pickle.Write([(byte)'X', 0, 0, 16, 0]);
        pickle.Write(Enumerable.Repeat((byte)'x', 1 << 20).ToArray());
        pickle.Write("q\0c_codecs\nencode\nq\u0001("u8);
        for (int i = 0; i < 10_000; i++) pickle.Write([(byte)'h', 1, (byte)'h', 0, 0x85, (byte)'R']);
        pickle.Write("t."u8);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("many calls", Refusal(pickle.ToArray()));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 50 << 20);
    }

    /// <summary>Twelve times the same tuple, thirty levels deep: small in memory, endless for whoever walks it.</summary>
    [Fact]
    public void SharedTuplesStaySmall()
    {
        var pickle = new MemoryStream();
        pickle.Write(")q\0"u8);
        for (int i = 0; i < 30; i++) pickle.Write("0(h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0tq\0"u8);
        pickle.Write([.. "0ctest\nid\nh\0"u8, 0x85, .. "R."u8]);
        Assert.Equal(12, Assert.IsType<object?[]>(Read(pickle.ToArray())).Length);
    }

    [Fact]
    public void NumbersAsKeysThatWouldCollideStayFast()
    {
        // Multiples of 2^32 + 1 have one and the same plain hash code, 0.
        var pickle = new MemoryStream();
        pickle.Write("}("u8);
        for (int i = 0; i < 200_000; i++)
        {
            pickle.Write([0x8a, 8, .. BitConverter.GetBytes(i * 0x1_0000_0001L)]);
            pickle.WriteByte((byte)'N');
        }
        pickle.Write("u."u8);
        Assert.Equal(200_000, Assert.IsType<PickleDictionary>(Read(pickle.ToArray())).Count);
    }

    /// <summary>Where the length of the stream is unknown, memory follows what arrives.</summary>
    [Fact]
    public void AClaimOnAStreamOfUnknownLengthAllocatesLittle()
    {
        byte[] pickle = Encoding.Latin1.GetBytes("B\u00ff\u00ff\u00ff\u007fabc");
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<EspalierException>(() =>
            PickleReader.Read(new SliceStream(new MemoryStream(pickle), 0, pickle.Length), Allowed, "file"));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 10 << 20);
    }

    [Fact]
    public void InertObjectsKeepTheirState()
    {
        byte[] pickle = Encoding.Latin1.GetBytes("ctest\nInert\n)\u0081}(X\u0002\0\0\0lrK\u0001ub.");
        var read = Assert.IsType<PickleObject>(Read(pickle));
        Assert.Equal("test.Inert", read.Global);
        Assert.Equal(1L, Assert.IsType<PickleDictionary>(read.State)["lr"]);
    }

    private static object? Read(byte[] pickle) => PickleReader.Read(new MemoryStream(pickle), Allowed, "file");

    private static string Refusal(byte[] pickle) => Assert.Throws<EspalierException>(() => Read(pickle)).Message;
}
