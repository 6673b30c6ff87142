using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Compression;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models;

/// <summary>ONNX Runtime computes from the written file what the network computes, whole or pruned.</summary>
public sealed class CnnOnnxRuntimeTests(CnnOnnxRuntimeTests.Runs runs) : IClassFixture<CnnOnnxRuntimeTests.Runs>
{
    private const float Tolerance = 1e-4f;
    private const int Images = 3;

    private static readonly string[] Pruned =
        ["vgg11_bn", "resnet18", "resnet50", "resnet20", "densenet121", "mobilenet_v2", "efficientnet_b0", "xception",
            "shufflenet_v2_x1_0", ListNet.Name];

    private static readonly string[] All =
        [.. CnnPresets.Names, ListNet.Name, .. Pruned.Select(n => n + " pruned"), "resnet50 opset 23", "densenet121 opset 23"];

    public static TheoryData<string> Cases => [.. All];

    [OnnxRuntimeTheory]
    [MemberData(nameof(Cases))]
    public void LogitsAreTheNetworks(string name)
    {
        Run run = runs.Results.Value[name];
        Assert.Equal(name.EndsWith("pruned", StringComparison.Ordinal), run.Share < 0.9);
        float scale = run.Expected.Max(MathF.Abs);
        Assert.True(scale > 1e-3f, "the logits say nothing");
        foreach (float[] logits in new[] { run.OneByOne, run.Together })
        {
            Assert.Equal(run.Expected.Length, logits.Length);
            for (int i = 0; i < logits.Length; i++) Assert.Equal(run.Expected[i], logits[i], Tolerance * scale);
        }
    }

    /// <param name="Share">Of the network's parameters that pruning has left.</param>
    public sealed record Run(double Share, float[] Expected, float[] OneByOne, float[] Together);

    /// <summary>All networks in one process of ONNX Runtime.</summary>
    public sealed class Runs : IDisposable
    {
        private readonly TempFolder folder = new();

        public Runs() => Results = new Lazy<Dictionary<string, Run>>(RunAll);

        public Lazy<Dictionary<string, Run>> Results { get; }

        public void Dispose() => folder.Dispose();

        private Dictionary<string, Run> RunAll()
        {
            var jobs = new List<OnnxRuntime.Job>();
            var written = new List<(string Name, double Share, float[] Expected)>();
            foreach (string name in All)
            {
                string file = Path.Combine(folder.Path, name + ".onnx");
                written.Add(Write(name, file, out float[] images));
                jobs.Add(new OnnxRuntime.Job(file, images, 1));
                jobs.Add(new OnnxRuntime.Job(file, images, Images));
            }
            float[][] logits = [.. OnnxRuntime.Run(jobs).Select(r => OnnxRuntime.Floats(r["logits"]))];
            return written.Select((w, i) => (w.Name, new Run(w.Share, w.Expected, logits[2 * i], logits[2 * i + 1])))
                .ToDictionary();
        }

        private static (string, double, float[]) Write(string name, string file, out float[] pixels)
        {
            string[] words = name.Split(' ');
            using Cnn net = Create(words[0]);
            long before = net.ParameterCount;
            if (words[^1] == "pruned")
            {
                var options = new CompressionOptions
                {
                    MoveConstants = true, Selection = new SelectionOptions { Ratio = 0.4, MinKept = 1 },
                };
                CompressionMethods.Get("l1").Run(CompressionJobs.Job(net, options));
            }
            OnnxFile.Write(file, new LoadedCnn(net, new CnnStructure { Config = net.Config }), words[^1] == "23" ? 23 : 17);
            Assert.True(net.Training);
            using var scope = new Scope();
            var images = new Tensor(new Shape(Images, net.Channels, net.ImageSize, net.ImageSize));
            var rng = new Rng(5);
            foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
            pixels = images.ToArray();
            net.Training = false;
            return (name, (double)net.ParameterCount / before, net.Forward(images).ToArray());
        }

        /// <summary>Narrow, on images whose sides do not halve evenly.</summary>
        private static Cnn Create(string network) => network switch
        {
            ListNet.Name => ListNet.Create(),
            "vanilla-c3" => CompressionJobs.Net(network, 9),
            _ => CompressionJobs.Net(network, CnnPresets.Get(network).ImageSize == 32 ? 20 : 72),
        };
    }
}
