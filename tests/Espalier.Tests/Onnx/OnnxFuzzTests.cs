using System.Diagnostics;
using System.Globalization;
using Espalier.Formats;
using Espalier.Onnx;
using Espalier.Tensors;
using Xunit.Abstractions;

namespace Espalier.Tests.Onnx;

/// <summary>
/// More than a thousand damaged files of ONNX: each is refused in one line or, where the damage left a network, is one. None takes
/// 256 MB. <c>ESPALIER_FUZZ=100000</c> asks for more of them.
/// </summary>
public class OnnxFuzzTests(ITestOutputHelper output)
{
    private const long MostBytes = 1L << 28;

    /// <summary>As lengths and numbers: nothing, one, 2^31, 2^63, and what no number has.</summary>
    private static readonly byte[][] Varints =
    [
        [0], [1], [0x7f], [0xff, 0xff, 0x03], [0x80, 0x80, 0x80, 0x80, 0x08], [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], [.. Enumerable.Repeat((byte)0xff, 11)],
    ];

    [Fact]
    public void MutantsEndInOneLineOrAreNetworks()
    {
        string? asked = Environment.GetEnvironmentVariable("ESPALIER_FUZZ");
        int count = asked is null ? 1500 : int.Parse(asked, CultureInfo.InvariantCulture);
        string folder = Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx");
        byte[][] files = [.. new[] { "timm", "mixed", "opset9", "huggingface" }.Select(n => File.ReadAllBytes(Path.Combine(folder, $"{n}.onnx")))];
        int refused = 0, read = 0;
        foreach (byte[] file in files) Dispose(OnnxImport.Read(file, null, new OnnxReadOptions { ImageSize = 16 }));
        using var process = Process.GetCurrentProcess();
        for (int i = 0; i < count; i++)
        {
            var rng = new Rng(9, (ulong)i);
            byte[] file = Mutant(files[i % files.Length], files[(i / files.Length) % files.Length], ref rng);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                OnnxImport.Result result = ReadGuard.Run("net.onnx", () => OnnxImport.Read(file, null, new OnnxReadOptions { ImageSize = 16 }));
                Dispose(result);
                read++;
            }
            catch (EspalierException e)
            {
                Assert.DoesNotContain('\n', e.Message);
                refused++;
            }
            long taken = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(taken < MostBytes, $"mutant {i} took {taken} bytes");
        }
        output.WriteLine($"{count} mutants: {refused} refused, {read} read; {process.PeakWorkingSet64 >> 20} MiB of memory at most in all");
        Assert.True(refused > count / 3 && read > count / 50, $"{refused} refused, {read} read");
    }

    private static void Dispose(OnnxImport.Result result)
    {
        foreach (GraphValue weight in result.Graph.Weights.Values) weight.Tensor.Dispose();
    }

    private static byte[] Mutant(byte[] file, byte[] other, ref Rng rng)
    {
        byte[] mutant = [.. file];
        // Names and structure are at the front of nodes; most bytes are weights, in which little can go wrong.
        for (int changes = 1 + Below(3, ref rng); changes > 0; changes--)
        {
            int at = Below(Below(2, ref rng) == 0 ? mutant.Length : Math.Min(mutant.Length, 6000), ref rng), length = 1 + Below(40, ref rng);
            switch (Below(5, ref rng))
            {
                case 0:
                    mutant[at] ^= (byte)(1 << Below(8, ref rng));
                    break;
                case 1:
                    int from = Below(other.Length, ref rng);
                    mutant = [.. mutant[..at], .. other.AsSpan(from, Math.Min(length, other.Length - from)), .. mutant[at..]];
                    break;
                case 2:
                    mutant = [.. mutant[..at], .. mutant[Math.Min(mutant.Length, at + length)..]];
                    break;
                case 3:
                    mutant = [.. mutant[..at], .. Varints[Below(Varints.Length, ref rng)], .. mutant[Math.Min(mutant.Length, at + 1)..]];
                    break;
                default:
                    mutant[at] = (byte)Below(256, ref rng);
                    break;
            }
            if (mutant.Length == 0) return [0];
        }
        return mutant;
    }

    private static int Below(int most, ref Rng rng) => (int)(rng.NextULong() % (ulong)most);
}
