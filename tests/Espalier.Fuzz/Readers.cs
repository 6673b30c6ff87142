using System.IO.Compression;
using System.Text;
using Espalier.Cli.Options;
using Espalier.Clip;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Fuzz;

/// <summary>One reader of files from strangers, and whole files of its kind to damage.</summary>
/// <param name="Wrap">Puts a damaged part into a whole file, so that checksums around it are right; null where the file is damaged.
/// </param>
internal sealed record Reader(string Name, byte[][] Seeds, Action<byte[]> Read, Func<byte[], byte[]>? Wrap = null);

/// <summary>All of them.</summary>
internal static class Readers
{
    private const string Source = "file";

    /// <param name="folder">For what is read by its path.</param>
    public static IReadOnlyList<Reader> All(string folder)
    {
        byte[] parallel = Seed("Formats/parallel.pt"), packed = Seed("Formats/plain.npz");
        byte[][] pictures(string kind) => [.. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Seeds", "Images"), $"*.{kind}")
            .Where(f => !Path.GetFileName(f).StartsWith("read-", StringComparison.Ordinal)).Order(StringComparer.Ordinal).Select(File.ReadAllBytes)];
        return
        [
            new("safetensors", [Saved(folder, m => SaveWeights(m, folder)), Saved(folder, m => SaveWeights(m, folder), "vit")], Checkpoint),
            new("PyTorch archive", [parallel, Seed("Formats/views.pth"), Seed("Formats/nested.pth"), Seed("Formats/scripted.pt"), Seed("Formats/objects.pth")],
                Checkpoint),
            new("PyTorch before 1.6", [Seed("Formats/legacy_views.pth"), Seed("Formats/legacy.pth")], Checkpoint),
            new("PyTorch before 0.2", [Seed("Formats/before_0_2.pth")], Checkpoint),
            new("PyTorch's pickle", [Entry(parallel, "parallel/data.pkl")], Checkpoint, part => With(parallel, "parallel/data.pkl", part)),
            new("pickle", [Seed("Formats/batch2.pickle"), Seed("Formats/batch4.pickle"), Seed("Formats/batch5.pickle"), Seed("Formats/batch_python2.pickle")],
                file => PickleReader.Read(new MemoryStream(file), new PickleGlobals().AddNumpy(), Source)),
            new("npz", [packed, Seed("Formats/packed.npz"), Seed("Formats/zip64.npz")], Checkpoint),
            new("npy in npz", [Entry(packed, "fortran.npy")], Checkpoint, part => With(packed, "fortran.npy", part)),
            new("ONNX", [Seed("Onnx/timm.onnx"), Seed("Onnx/mixed.onnx"), Seed("Onnx/opset9.onnx"), Seed("Onnx/huggingface.onnx")], Onnx),
            new("model file", [Saved(folder, m => m.Save(Named(folder))), Saved(folder, m => m.Save(Named(folder)), "vit")],
                file => ByPath(folder, file, ".safetensors", path => Model.Open(path).Dispose())),
            new("PNG", pictures("png"), Picture), new("JPEG", pictures("jpg"), Picture), new("GIF", pictures("gif"), Picture),
            new("WebP", pictures("webp"), Picture), new("BMP", pictures("bmp"), Picture),
            new("model configuration", [Text("""{"imageSize":28,"patchSize":4,"channels":1,"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":4,"numClasses":10,"pruneLayers":[0,2]}""")],
                file => VitConfig.Parse(Encoding.UTF8.GetString(file), Source)),
            new("preprocessing", [Text(Preprocessing.Preset("imagenet", 224, 3).ToJson())], file => Preprocessing.Parse(Encoding.UTF8.GetString(file), Source)),
            new("removal plan", [Text("""{"format":1,"groups":[{"name":"layer1.0.conv1","of":64,"remove":[2,5,7]},{"name":"fc","of":8,"remove":[0]}]}""")],
                file => ByPath(folder, file, ".json", path => RemovalPlan.Load(path))),
            new("recipe", [Text("""{"verb":"train","model-type":"resnet20","num-steps":4690,"data":"fashion-mnist-sample","learning-rate":0.1}""")],
                file => ByPath(folder, file, ".json", path => RecipeFile.Read(path))),
            new("recipe in YAML", [Text("verb: train\nmodel-type: resnet20 # small\n\"num-steps\": 4690\ndata: 'fashion-mnist-sample'\n"), Text("{lr: 0.1, x: ~}")],
                file => ByPath(folder, file, ".yaml", path => RecipeFile.Read(path))),
            new("training history", [Text("{\"step\":10,\"lr\":0.03,\"loss\":2.1}\n{\"step\":20,\"lr\":0.03,\"loss\":1.9,\"eval/accuracy\":0.4}\n")],
                file => ByPath(folder, file, ".jsonl", path => TrainingHistory.Read(path))),
            new("CLIP's vocabulary", [Text("#version: 0.2\ni n\nt h\nth e</w>\na n\nr e\n"), Zipped(Text("#version: 0.2\ni n\nt h\nth e</w>\na n\n"))],
                file => ByPath(folder, file, ".txt", path => ClipTokenizer.Open(path, 2 * 256 + 2 + 4))),
            new("IDX", [[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, .. new byte[24]]],
                file => Idx.Read(new MemoryStream(file), file.Length, Source, 3)),
            new("IDX in gzip", [Zipped([0, 0, 8, 1, 0, 0, 0, 9, .. new byte[9]])], file => Idx.Read(new MemoryStream(file), file.Length, Source + ".gz", 1)),
            new("CIFAR's archive", [Archive()], file => ByPath(folder, Zipped(file), ".tar.gz",
                path => CifarFiles.ReadArchive(path, "cifar-10-batches-bin", ["test_batch.bin"]))),
            new("CIFAR's records", [[3, .. new byte[3072], 9, .. new byte[3072]]],
                file => CifarRecords.Read(Cifar.Info10, Source, ["test_batch.bin", "test_batch.bin"], [file, file])),
        ];
    }

    private static void Checkpoint(byte[] file) => CheckpointFile.Read(new MemoryStream(file, writable: false), Source);

    private static void Onnx(byte[] file)
    {
        OnnxImport.Result result = ReadGuard.Run(Source, () => OnnxImport.Read(file, null, new OnnxReadOptions { ImageSize = 16 }));
        foreach (GraphValue weight in result.Graph.Weights.Values) weight.Tensor.Dispose();
    }

    private static void Picture(byte[] file) => ImageFile.Decode(file, Source);

    private static void ByPath(string folder, byte[] file, string ending, Action<string> read)
    {
        string path = Path.Combine(folder, "mutant" + ending);
        File.WriteAllBytes(path, file);
        read(path);
    }

    private static byte[] Seed(string name) => File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Seeds", name));

    private static byte[] Text(string text) => Encoding.UTF8.GetBytes(text);

    private static string Named(string folder) => Path.Combine(folder, "seed.safetensors");

    private static byte[] Saved(string folder, Action<Model> save, string kind = "cnn")
    {
        using Model model = kind == "cnn" ? Model.Create("resnet20", 3, 3, 16, width: 0.1) : Model.FromModule(new VisionTransformer(new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 8, MlpDim = 16, NumHeads = 2, NumLayers = 2, NumClasses = 3,
        }));
        model.Card = model.Card with { Classes = ["a", "b", "c"], Dataset = "folder" };
        save(model);
        return File.ReadAllBytes(Named(folder));
    }

    private static void SaveWeights(Model model, string folder) => Safetensors.Write(Named(folder),
        model.Graph.Weights.Select(w => new NamedArray(w.Key, w.Value.Tensor.Shape.ToArray(), w.Value.Tensor.ToArray())));

    private static byte[] Zipped(byte[] bytes)
    {
        using var to = new MemoryStream();
        using (var zip = new GZipStream(to, CompressionLevel.Fastest, leaveOpen: true)) zip.Write(bytes);
        return to.ToArray();
    }

    private static byte[] Archive()
    {
        using var to = new MemoryStream();
        using (var tar = new System.Formats.Tar.TarWriter(to, System.Formats.Tar.TarEntryFormat.Ustar, leaveOpen: true))
            foreach (string name in new[] { "readme.html", "test_batch.bin" })
                tar.WriteEntry(new System.Formats.Tar.UstarTarEntry(System.Formats.Tar.TarEntryType.RegularFile, $"cifar-10-batches-bin/{name}")
                {
                    DataStream = new MemoryStream(new byte[3073]),
                });
        return to.ToArray();
    }

    private static byte[] Entry(byte[] zip, string name)
    {
        using var archive = new ZipArchive(new MemoryStream(zip));
        using var copy = new MemoryStream();
        using Stream content = archive.GetEntry(name)!.Open();
        content.CopyTo(copy);
        return copy.ToArray();
    }

    private static byte[] With(byte[] zip, string name, byte[] part)
    {
        using var from = new ZipArchive(new MemoryStream(zip));
        using var to = new MemoryStream();
        using (var archive = new ZipArchive(to, ZipArchiveMode.Create, leaveOpen: true))
            foreach (ZipArchiveEntry entry in from.Entries)
            {
                using Stream target = archive.CreateEntry(entry.FullName, CompressionLevel.NoCompression).Open(), source = entry.Open();
                if (entry.FullName == name) target.Write(part);
                else source.CopyTo(target);
            }
        return to.ToArray();
    }
}
