using Espalier.Clip;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Tests.Data;
using Espalier.Tests.Imaging;
using Microsoft.Extensions.AI;

namespace Espalier.Tests.Clip;

/// <summary>What is done with features: labels without training, logistic regression, search, generators of embeddings.</summary>
public sealed class ClipUseTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>By hand: (1, 0) and (0.6, 0.8) have the mean (0.8, 0.4), which is (2, 1) / √5 at length 1.</summary>
    [Fact]
    public void TheMeanOfVectorsHasLengthOne()
    {
        float[] mean = ZeroShot.Mean([[2, 0], [3, 4], [0.6f, 0.8f]]);
        Assert.Equal(1, mean[0] * mean[0] + mean[1] * mean[1], 1e-6f);
        float[] two = ZeroShot.Mean([[5, 0], [6, 8]]);
        Assert.Equal(0.8944272f, two[0], 1e-6f);
        Assert.Equal(0.4472136f, two[1], 1e-6f);
    }

    [Fact]
    public void TemplatesAreThePublishedOnes()
    {
        Assert.Equal((1, 80, 7, 18), (Count("plain"), Count("imagenet"), Count("imagenet-7"), Count("cifar")));
        Assert.Equal("a photo of the big X.", PromptTemplates.Fill(PromptTemplates.Get("cifar")![^1], "X"));
        Assert.Contains("a black and white photo of the {}.", PromptTemplates.Get("cifar")!);
        Assert.Null(PromptTemplates.Get("nothing"));
        Assert.Contains("{}", Assert.Throws<EspalierException>(() => PromptTemplates.Fill("a photo", "cat")).Message);

        static int Count(string name) => PromptTemplates.Get(name)!.Distinct().Count();
    }

    [Fact]
    public void AClassifierOfClassesNeedsNoTexts()
    {
        string path = Written();
        Image picture = Golden.Read("color16");
        float[] expected;
        using (ClipModel model = Open(path))
        {
            ZeroShot zero = ZeroShot.Of(model, ["cat", "dog", "pot"], ["a {}", "{} on"]);
            expected = zero.Probabilities(model.EncodeImage(picture)[0]);
            using Model tower = ClipModel.OpenImageTower(path);
            zero.MakeClassifier(tower);
            tower.Save(Path.Combine(folder.Path, "labels.safetensors"));
        }
        using Model saved = Model.Open(Path.Combine(folder.Path, "labels.safetensors"));
        Prediction prediction = saved.Predict(folder.File("picture.png", Png(picture)));
        Assert.Equal(["cat", "dog", "pot"], prediction.ClassNames!);
        for (int i = 0; i < 3; i++) Assert.Equal(expected[i], prediction.Probabilities[i], 1e-4f);
    }

    /// <summary>
    /// Of C Σ loss + |W|² / 2, by symmetry: the logits of two classes differ by the d of d (1 + e^d) = 4 C, and those of three by the d of
    /// d (2 + e^d) = 3 C, of which the weights are 2/3 and -1/3.
    /// </summary>
    [Fact]
    public void LogisticRegressionHasTheKnownSolutions()
    {
        LogisticRegression two = LogisticRegression.Fit([[1], [-1]], [1, 0], 2, 0.316, tolerance: 1e-7);
        Assert.Equal(0.4824389, two.Weights[1] - two.Weights[0] + two.Bias[1] - two.Bias[0], 2e-5);
        LogisticRegression three = LogisticRegression.Fit([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 2], 3, 0.316,
            tolerance: 1e-7);
        Assert.Equal(0.1898234, three.Weights[0], 2e-5);
        Assert.Equal(-0.0949117, three.Weights[1], 2e-5);
        Assert.Equal(0.9513949, three.Objective, 2e-5);
        Assert.Equal(1, three.Accuracy([[1, 0, 0], [0, 0, 3]], [0, 2]));
        Assert.Contains("nothing to learn", Assert.Throws<EspalierException>(() => LogisticRegression.Fit([], [], 2, 1)).Message);
    }

    [Fact]
    public void ASolutionIsTheSameFromAnotherStart()
    {
        (List<float[]> x, List<int> y) = Blobs(60);
        LogisticRegression cold = LogisticRegression.Fit(x, y, 3, 2, tolerance: 1e-5);
        LogisticRegression far = LogisticRegression.Fit(x, y, 3, 0.001);
        LogisticRegression warm = LogisticRegression.Fit(x, y, 3, 2, far, tolerance: 1e-5);
        Assert.Equal(cold.Objective, warm.Objective, 1e-3);
        for (int i = 0; i < cold.Weights.Length; i++) Assert.Equal(cold.Weights[i], warm.Weights[i], 1e-2f);
    }

    [Fact]
    public void TheSweepHalvesItsStepsAroundTheBest()
    {
        (List<float[]> x, List<int> y) = Blobs(90);
        ProbeSweep.Result result = ProbeSweep.Run(x[..60], y[..60], x[60..], y[60..], 3);
        Assert.Equal([1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6], result.Tried.Take(7).Select(t => Math.Round(t.C, 9)));
        Assert.InRange(result.Tried.Count, 8, 7 + 8);
        double most = result.Tried.Max(t => t.Accuracy);
        Assert.Equal(result.Tried.Where(t => t.Accuracy == most).Min(t => t.C), result.Best);
        Assert.True(most > 0.7, $"{most}");
    }

    [Fact]
    public void AnIndexFindsPicturesAndIsKept()
    {
        using ClipModel model = Open(Written());
        string pictures = Path.Combine(folder.Path, "pictures");
        Directory.CreateDirectory(Path.Combine(pictures, "sub"));
        Image[] images = [.. Enumerable.Range(0, 5).Select(Pattern)];
        for (int i = 0; i < 5; i++) File.WriteAllBytes(Path.Combine(pictures, i < 3 ? $"{i}.png" : $"sub/{i}.png"),
            Png(images[i]));
        File.WriteAllText(Path.Combine(pictures, "broken.png"), "no picture");
        var skipped = new List<string>();
        EmbeddingIndex index = EmbeddingIndex.Of(pictures, model, skip: (path, _) => skipped.Add(Path.GetFileName(path)));
        Assert.Equal(["broken.png"], skipped);
        Assert.Equal(["0.png", "1.png", "2.png", "sub/3.png", "sub/4.png"], index.Images.Select(i => i.Path.Replace('\\', '/')));
        string path = Path.Combine(folder.Path, "index.safetensors");
        index.Save(path);
        EmbeddingIndex read = EmbeddingIndex.Open(path);
        Assert.Equal(index.Images, read.Images);
        Assert.True(read.IsOf(model));
        SearchHit[] hits = read.Search(model.EncodeImage(images[3])[0], 9);
        Assert.Equal(5, hits.Length);
        Assert.Equal(hits.OrderByDescending(h => h.Score), hits);
        Assert.Equal(1, hits.Single(h => h.Path.EndsWith("3.png", StringComparison.Ordinal)).Score, 1e-5f);
        // What has not changed is not looked at again: a model that would have to would be asked for pictures that are gone.
        int asked = 0;
        File.WriteAllBytes(Path.Combine(pictures, "new.png"), Png(Pattern(9)));
        EmbeddingIndex more = EmbeddingIndex.Of(pictures, model, read, (_, _) => { }, (_, all) => asked = all);
        Assert.Equal((6, 2), (more.Images.Count, asked));
    }

    [Fact]
    public void ASearchAmongManyFindsTheNearestInOrder()
    {
        var rng = new Espalier.Tensors.Rng(3);
        const int Count = 5000, Width = 16;
        var vectors = new float[Count * Width];
        for (int i = 0; i < Count; i++)
        {
            float[] v = ClipModel.Normalised([.. Enumerable.Range(0, Width).Select(_ => rng.NextNormal())]);
            v.CopyTo(vectors, i * Width);
        }
        var index = new EmbeddingIndex([.. Enumerable.Range(0, Count).Select(i => new IndexedImage($"{i}", 0, 0))], vectors,
            new float[Width]);
        float[] query = [.. Enumerable.Range(0, Width).Select(_ => rng.NextNormal())], unit = ClipModel.Normalised(query);
        var expected = Enumerable.Range(0, Count)
            .Select(i => (Name: $"{i}", Score: Enumerable.Range(0, Width).Sum(k => (double)unit[k] * vectors[i * Width + k])))
            .OrderByDescending(e => e.Score).Take(20).ToArray();
        SearchHit[] hits = index.Search(query, 20);
        Assert.Equal(expected.Select(e => e.Name), hits.Select(h => h.Path));
        Assert.Equal(expected[7].Score, hits[7].Score, 1e-5);
    }

    [Fact]
    public void ADamagedIndexIsOneLine()
    {
        var index = new EmbeddingIndex([new IndexedImage("a.png", 3, 4), new IndexedImage("b.png", 5, 6)], [1, 0, 0, 1], [1, 0]);
        string path = Path.Combine(folder.Path, "index.safetensors");
        index.Save(path);
        byte[] good = File.ReadAllBytes(path);
        var rng = new Random(1);
        for (int round = 0; round < 300; round++)
        {
            byte[] bytes = [.. good];
            if (round % 3 == 0) bytes = bytes[..rng.Next(bytes.Length)];
            else bytes[rng.Next(bytes.Length)] = (byte)rng.Next(256);
            File.WriteAllBytes(path, bytes);
            try
            {
                EmbeddingIndex.Open(path).Search([1, 1], 1);
            }
            catch (EspalierException e)
            {
                Assert.StartsWith(path, e.Message);
                Assert.DoesNotContain('\n', e.Message);
            }
        }
        Safetensors.Write(path, [SafetensorsEntry.FromFloats("vectors", [1, 2], new float[2])], new Dictionary<string, string>());
        Assert.Contains("no index", Assert.Throws<EspalierException>(() => EmbeddingIndex.Open(path)).Message);
    }

    [Fact]
    public async Task GeneratorsGiveVectorsOfLengthOne()
    {
        using ClipModel model = Open(Written());
        using IEmbeddingGenerator<string, Embedding<float>> texts = new ClipTextEmbeddings(model);
        GeneratedEmbeddings<Embedding<float>> made = await texts.GenerateAsync(["a cat",
            "one two three four five six seven eight"]);
        Assert.Equal(2, made.Count);
        Assert.Equal(ClipModel.Normalised(model.EncodeText("a cat")[0]), made[0].Vector.ToArray());
        Assert.Equal(24, texts.GetService<EmbeddingGeneratorMetadata>()!.DefaultModelDimensions);
        Assert.Same(model, texts.GetService<ClipModel>());
        await Assert.ThrowsAsync<ArgumentException>(() =>
            texts.GenerateAsync(["a"], new EmbeddingGenerationOptions { Dimensions = 7 }));
        using IEmbeddingGenerator<DataContent, Embedding<float>> pictures = new ClipImageEmbeddings(model);
        Image picture = Golden.Read("color16");
        Embedding<float> one = Assert.Single(await pictures.GenerateAsync([new DataContent(Png(picture), "image/png")]));
        Assert.Equal(ClipModel.Normalised(model.EncodeImage(picture)[0]), one.Vector.ToArray());
        await Assert.ThrowsAsync<EspalierException>(() =>
            pictures.GenerateAsync([new DataContent(new byte[] { 1, 2 }, "image/png")]));
    }

    [Fact]
    public async Task AFileIsFetchedOnceAndChecked()
    {
        byte[] content = File.ReadAllBytes(Written());
        using var server = new FlakyServer(content);
        string digest = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(content));
        var file = new RemoteFile("clip.safetensors", [server.Url], "sha256:" + digest, 1 << 24);
        string fetched = Path.Combine(folder.Path, "fetched");
        string path = await ClipWeights.FetchAsync(file, fetched);
        Assert.Equal(content, File.ReadAllBytes(path));
        int requests = server.Ranges.Count;
        Assert.Equal(path, await ClipWeights.FetchAsync(file, fetched));
        Assert.Equal(requests, server.Ranges.Count);
        using ClipModel model = Open(path);
        Assert.Equal(24, model.Embedding);
        RemoteFile other = ClipWeights.Find("vit-b/32")!.File with { Urls = [server.Url] };
        Assert.Contains("checksum differs",
            (await Assert.ThrowsAsync<EspalierException>(() => ClipWeights.FetchAsync(other, fetched))).Message);
        Assert.All(ClipWeights.All, p => Assert.Contains(p.File.Checksum["sha256:".Length..], p.File.Urls[0]));
    }

    [Fact]
    public void FeaturesOfAnyNetworkAreWhatItsHeadReads()
    {
        string path = Path.Combine(folder.Path, "vit.safetensors");
        using (Model model = Model.Create("vit-tiny-28")) model.Save(path);
        using FeatureNetwork network = FeatureNetwork.Open(path);
        Assert.Equal(48, network.Width);
        Assert.Contains(network.Encode(Golden.Read("color16")), v => v != 0);
        using FeatureNetwork tower = FeatureNetwork.Open(Written());
        Assert.Equal(24, tower.Width);
    }

    private string Written()
    {
        string path = Path.Combine(folder.Path, "clip.safetensors");
        ClipGolden.Write(path, ClipGolden.Whole());
        return path;
    }

    private ClipModel Open(string path)
    {
        string vocabulary = folder.File("vocabulary.txt",
            System.Text.Encoding.UTF8.GetBytes(string.Join('\n', ClipGolden.Merges())));
        return ClipModel.Open(path, new ClipOptions { Vocabulary = vocabulary });
    }

    /// <summary>Three clouds of points in five dimensions.</summary>
    private static (List<float[]> X, List<int> Y) Blobs(int count)
    {
        var rng = new Espalier.Tensors.Rng(5);
        var (x, y) = (new List<float[]>(), new List<int>());
        for (int i = 0; i < count; i++)
        {
            y.Add(i % 3);
            x.Add([.. Enumerable.Range(0, 5).Select(k => (k == i % 3 ? 2 : 0) + rng.NextNormal())]);
        }
        return (x, y);
    }

    private static Image Pattern(int seed)
    {
        var pixels = new byte[40 * 40 * 3];
        for (int i = 0; i < pixels.Length; i++) pixels[i] = (byte)(i * (seed * 7 + 3) / (seed + 1) + i / 120 * seed * 5);
        return new Image(40, 40, 3, pixels);
    }

    private byte[] Png(Image image)
    {
        string path = Path.Combine(folder.Path, "made.png");
        PngWriter.Write(path, image);
        return File.ReadAllBytes(path);
    }
}
