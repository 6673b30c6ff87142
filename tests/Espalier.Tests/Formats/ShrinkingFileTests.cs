using Espalier.Data;
using Espalier.Formats;
using Espalier.Formats.Onnx;
using Espalier.Imaging;
using Espalier.Onnx;

namespace Espalier.Tests.Formats;

/// <summary>A file that another program cuts short while it is read: the library's own exception with the file's name in one line,
/// whatever was read of it before, and no other exception.</summary>
public sealed class ShrinkingFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Checkpoints =>
        ["views.pth", "parallel.pt", "legacy_views.pth", "before_0_2.pth", "plain.npz", "packed.npz", "safetensors"];

    [Theory]
    [MemberData(nameof(Checkpoints))]
    public void A_checkpoint_is_refused_wherever_it_ends(string name)
    {
        byte[] whole = name == "safetensors" ? Weights() : File.ReadAllBytes(FormatFiles.Golden(name));
        int refused = 0;
        // What stays whole is read, and what has nothing left at once is not.
        Assert.Equal(0, Refused(() => CheckpointFile.Read(new ShrinkingStream(whole, int.MaxValue, 0, true), "there")));
        foreach (bool known in new[] { false, true })
            Assert.Equal(1, Refused(() => CheckpointFile.Read(new ShrinkingStream(whole, 0, 0, known), "there")));
        for (int reads = 0; reads < 24; reads++)
            foreach (double share in new[] { 0, 0.1, 0.5, 0.99 })
                foreach (bool known in new[] { false, true })
                {
                    int left = (int)(share * whole.Length);
                    refused += Refused(() => CheckpointFile.Read(new ShrinkingStream(whole, reads, left, known), "there"));
                }
        Assert.InRange(refused, 8, 24 * 8);
    }

    /// <param name="side">Of a matrix: one that a single thread reads, and one that all do. Both are longer than what a stream holds.
    /// </param>
    [Theory]
    [InlineData(256)]
    [InlineData(1024)]
    public void What_is_read_later_is_looked_for_where_it_was(int side)
    {
        string path = folder["a.safetensors"];
        Safetensors.Write(path, [new NamedArray("w", [side, side], [.. Enumerable.Range(0, side * side).Select(i => (float)i)])]);
        using var reader = SafetensorsReader.Open(path);
        float[] whole = new float[side * side];
        reader.ReadFloats("w", whole);
        Assert.Equal(Enumerable.Range(0, side * side).Select(i => (float)i), whole);
        Cut(path, 1000);
        foreach (Action read in new Action[] { () => reader.ReadFloats("w", whole), () => reader.ReadBytes("w") })
            Assert.Equal($"{path}: the file is truncated; fetch or copy it again", Assert.Throws<EspalierException>(read).Message);
    }

    [Fact]
    public void A_network_in_ONNX_is_refused_wherever_it_ends()
    {
        string path = folder["a.onnx"];
        byte[] whole = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx", "timm.onnx"));
        for (int part = 0; part < 16; part++)
        {
            File.WriteAllBytes(path, whole);
            using ProtoFile file = ProtoFile.Open(path);
            Cut(path, whole.Length * part / 16);
            Assert.Equal(1, Refused(() => ReadGuard.Run("there", () => OnnxImport.Read(file, null, null))));
        }
    }

    /// <summary>Another program cuts and writes the file all the while; how often a reader meets it cut depends on the machine. Before and
    /// afterwards it is whole.</summary>
    [Fact]
    public async Task Every_reader_by_path_has_one_exception()
    {
        string images = Path.Combine(AppContext.BaseDirectory, "Goldens", "Images");
        byte[] image = [0, 0, 8, 3, 0, 0, 0, 64, 0, 0, 0, 28, 0, 0, 0, 28, .. new byte[64 * 28 * 28]];
        using Model model = Model.Create("resnet20", 3, 3, 16, width: 0.25);
        model.Save(folder["seed.safetensors"]);
        (string Name, byte[] Whole, Action<string> Read)[] files =
        [
            ("a.safetensors", File.ReadAllBytes(folder["seed.safetensors"]), path => Model.Open(path).Dispose()),
            ("a.pth", File.ReadAllBytes(FormatFiles.Golden("views.pth")), path => CheckpointFile.Read(path)),
            ("old.pth", File.ReadAllBytes(FormatFiles.Golden("legacy_views.pth")), path => CheckpointFile.Read(path)),
            ("a.onnx", File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx", "timm.onnx")),
                path => OnnxImport.Read(path).Graph.Weights.Values.ToList().ForEach(w => w.Tensor.Dispose())),
            ("a.png", File.ReadAllBytes(Directory.GetFiles(images, "*.png").Order().First()), path => ImageFile.Read(path)),
            ("a.jpg", File.ReadAllBytes(Directory.GetFiles(images, "*.jpg").Order().First()), path => ImageFile.Read(path)),
            ("a-idx3-ubyte", image, path => Idx.Read(path, 3)),
        ];
        foreach (var (name, whole, read) in files)
        {
            string path = folder[name];
            File.WriteAllBytes(path, whole);
            Assert.Equal(0, Refused(() => read(path), path));
            using var stop = new CancellationTokenSource();
            Task other = Task.Run(() =>
            {
                using FileStream file = Open(path);
                for (int i = 0; !stop.IsCancellationRequested; i++)
                {
                    file.SetLength(whole.Length * (i % 7) / 7);
                    Thread.SpinWait(1000 * (i % 13));
                    file.Position = 0;
                    file.Write(whole);
                    file.Flush();
                    Thread.SpinWait(1000 * (i % 11));
                }
            });
            for (int i = 0; i < 30; i++) Refused(() => read(path), path);
            await stop.CancelAsync();
            await other;
            Assert.Equal(0, Refused(() => read(path), path));
        }
    }

    /// <summary>1 where it is refused; fails at any other exception.</summary>
    private static int Refused(Action read, string name = "there")
    {
        try
        {
            read();
            return 0;
        }
        catch (EspalierException e)
        {
            Assert.StartsWith(name, e.Message);
            Assert.DoesNotContain('\n', e.Message);
            return 1;
        }
    }

    private byte[] Weights()
    {
        string path = folder["weights.safetensors"];
        Safetensors.Write(path, [new NamedArray("v", [8], new float[8]), new NamedArray("w", [64, 64], new float[4096])]);
        return File.ReadAllBytes(path);
    }

    private static FileStream Open(string path) => new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 1);

    private static void Cut(string path, long length)
    {
        using FileStream file = Open(path);
        file.SetLength(length);
    }

    /// <summary>Bytes of which only the first stay after some reads.</summary>
    /// <param name="known">Whether its length says so then, as that of a file does.</param>
    private sealed class ShrinkingStream(byte[] whole, int reads, int left, bool known) : Stream
    {
        private int done;

        public override bool CanRead => true;

        public override bool CanSeek => true;

        public override bool CanWrite => false;

        public override long Length => known ? There : whole.Length;

        public override long Position { get; set; }

        private int There => done > reads ? left : whole.Length;

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            done++;
            int count = (int)Math.Clamp(There - Position, 0, buffer.Length);
            whole.AsSpan((int)Math.Min(Position, There), count).CopyTo(buffer);
            Position += count;
            return count;
        }

        public override long Seek(long offset, SeekOrigin origin) =>
            Position = offset + (origin == SeekOrigin.Begin ? 0 : origin == SeekOrigin.Current ? Position : Length);

        public override void Flush() { }

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
