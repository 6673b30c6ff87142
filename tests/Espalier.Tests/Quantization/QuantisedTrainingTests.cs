using System.Text.Json;
using Espalier.Compression;
using Espalier.Files;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Compression;
using Espalier.Training;

namespace Espalier.Tests.Quantization;

/// <summary>Training with roundings, with noise and with code books, against PyTorch.</summary>
public class QuantisedTrainingTests
{
    private const string Layer = "transformer.encoder.layer.";

    private static readonly string[] Coded = [Layer + "0.attn.query.weight", Layer + "1.ffn.fc2.weight"];

    [Theory]
    [InlineData("qat8", 8, true)]
    [InlineData("qat4", 4, false)]
    public void Four_steps_with_roundings_give_PyTorchs_numbers(string key, int bits, bool perChannel)
    {
        TinyGolden golden = Golden();
        using Model model = golden.Model();
        var training = new QuantisedTraining(model.Graph, [TinyGolden.Images(9)], new QuantisedTrainingOptions
        {
            Rounding = new PostTrainingOptions
            {
                WeightBits = bits, PerChannel = perChannel, Observer = ObserverKind.MovingAverage, Momentum = 0.25f,
                Norms = NormCoding.Whole,
            },
        });
        Same(golden.Root.GetProperty(key), model, TinyGolden.Train(model, 0.05f, 4, training));
        double[][] ranges = [.. golden.Root.GetProperty(key).GetProperty("ranges").EnumerateArray().Select(TinyGolden.Numbers)];
        Assert.Equal(ranges.Length, training.Values.Count);
        for (int i = 0; i < ranges.Length; i++)
        {
            (float scale, int zero) = CodeFormat.Activation(8).Fit((float)ranges[i][0], (float)ranges[i][1]);
            Assert.Equal(scale, training.Values[i].Scale.Span[0], 1e-5f);
            Assert.Equal(zero, training.Values[i].Zero!.Span[0]);
        }
    }

    [Fact]
    public void Four_steps_with_noise_of_integers_give_PyTorchs_numbers()
    {
        TinyGolden golden = Golden();
        using Model model = golden.Model();
        var training = new QuantisedTraining(model.Graph, [TinyGolden.Images(9)], new QuantisedTrainingOptions
        {
            Rounding = new PostTrainingOptions { WeightBits = 4, Norms = NormCoding.Whole }, Every = 100,
        });
        using var noise = new WeightNoise(NoiseKind.Integers, 0.5, training.Weights.Select(w => (w.Node.Output, 1)))
        {
            LeftOut = training.Values,
        };
        Same(golden.Root.GetProperty("noise"), model, TinyGolden.Train(model, 0.05f, 4, new Drawn(noise, 1, 0)));
    }

    [Fact]
    public void Four_steps_with_zeroed_blocks_give_PyTorchs_numbers()
    {
        TinyGolden golden = Golden();
        using Model model = golden.Model();
        using var noise = new WeightNoise(NoiseKind.Proxy, 0.2, QuantisedPlaces.Of(model.Graph, new HashSet<string>()).Layers
            .Select(l => (l.Weight, 4)));
        Same(golden.Root.GetProperty("proxy"), model, TinyGolden.Train(model, 0.05f, 4, new Drawn(noise, 0, 1 / 0.8f)));
    }

    [Theory]
    [InlineData("mean", true)]
    [InlineData("sum", false)]
    public void Four_steps_of_code_books_give_PyTorchs_numbers(string key, bool mean)
    {
        const int Entries = 5, Width = 4;
        TinyGolden golden = Golden();
        using Model model = golden.Model();
        foreach (string name in Coded)
        {
            GraphNode layer = model.Graph.Nodes.Single(n => n.Inputs.Any(i => i.Name == name));
            int outputs = layer.Operands[1]!.Shape[0], blocks = layer.Operands[1]!.Shape[1] / Width;
            float[] entries = [.. Enumerable.Range(0, Entries * Width).Select(i => (float)(0.3 * Math.Sin(i)))];
            new CodeBook(entries, [.. Enumerable.Range(0, blocks * outputs).Select(i =>
                (3 * (i / outputs) + i % outputs) % Entries)],
                Width).Into(model.Graph, layer, mean);
        }
        JsonElement expected = golden.Root.GetProperty(key);
        Same(expected, model, TinyGolden.Train(model, 0.05f, 4, new Nothing()));
        foreach (var (name, book) in Coded.Zip(expected.GetProperty("books").EnumerateArray()))
            TinyGolden.Close(TinyGolden.Numbers(book), model.Graph.Weights[name + ".book"].Tensor.Span);
    }

    /// <summary>Steps that end before scales are due again leave none of the weights and values of the beginning.</summary>
    [Theory]
    [InlineData("qat")]
    [InlineData("quant-noise")]
    public void Scales_are_set_in_the_last_step(string method)
    {
        using Model due = Trained("3"), never = Trained("100"), start = Trained("100", rate: 0);
        QuantisedValue[] expected = Values(due);
        Assert.Contains(expected.Zip(Values(start)), p => p.First.Scale.Span[0] != p.Second.Scale.Span[0]);
        foreach (var (a, b) in expected.Zip(Values(never))) Assert.Equal(a.Scale.ToArray(), b.Scale.ToArray());

        Model Trained(string every, float rate = 0.05f)
        {
            Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            CompressionJobs.Job(model, CompressionMethods.Get(method).Set("every", every).Set("images", "16") with
            {
                TrainSteps = 3, FineTuneSteps = 1, Training = new TrainOptions { LearningRate = rate },
            }).Run();
            return model;
        }

        static QuantisedValue[] Values(Model model) => [.. QuantisedValue.Of(model.Graph)];
    }

    /// <summary>Batch norms that go into rounded weights after training change no code, but for its sign.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Folding_at_the_end_changes_nothing(bool perChannel)
    {
        using Model model = CompressionJobs.Model("resnet20", 16);
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(4, 16, 3, model.Channels);
        var training = new QuantisedTraining(model.Graph, [images], new QuantisedTrainingOptions
        {
            Rounding = new PostTrainingOptions { WeightBits = 4, PerChannel = perChannel },
        });
        Assert.Contains(model.Graph.Nodes, n => n.Op is BatchNorm2dOp);
        foreach (GraphNode norm in model.Graph.Nodes.Where(n => n.Op is BatchNorm2dOp)) norm.Operands[1]!.Tensor.Span[0] *= -1;
        float[] before = model.Graph.Run(images).ToArray();
        Dictionary<string, int[]> codes = Codes();
        training.Finish();
        Assert.DoesNotContain(model.Graph.Nodes, n => n.Op is BatchNorm2dOp);
        // Each output has a scale of its own by then, as each norm multiplied the one scale by something else.
        Assert.All(QuantisedValue.Of(model.Graph).Where(v => v is { IsWeight: true, Source.Shape.Rank: 4 }), v =>
            Assert.Equal(0, v.Axis));
        foreach (var (name, after) in Codes()) Assert.Equal(codes[name], after);
        // Biases are whole numbers of their sums' scale now, and a value on the edge of two codes may be the other one.
        Assert.InRange(PostTrainingTests.Cosine(before, model.Graph.Run(images).ToArray()), 0.999, 1.0001);

        Dictionary<string, int[]> Codes() => QuantisedValue.Of(model.Graph).Where(v => v.IsWeight).ToDictionary(
            v => v.Source.Name, v => new StoredCodes(v.Source.Shape.ToArray(), v.Format.Low, v.Format.High, Axis: v.Axis)
                .Codes(v.Source.Tensor, v.Scale, null).Select(Math.Abs).ToArray());
    }

    [Fact]
    public void AMovingAverageBeginsWithTheFirstBatch()
    {
        Observer first = Observer.Create(ObserverKind.MovingAverage);
        first.Add([-1]);
        first.Add([-2]);
        Assert.Equal(-1.01f, first.Range(CodeFormat.Activation(8)).Min, 1e-6f);
    }

    private static TinyGolden Golden() => new("Quantised", "training.json");

    private static void Same(JsonElement expected, Model model, double[] losses)
    {
        TinyGolden.Close(TinyGolden.Numbers(expected.GetProperty("losses")), [.. losses.Select(l => (float)l)]);
        foreach (JsonProperty weight in expected.GetProperty("weights").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(weight.Value), model.Graph.Weights[weight.Name].Tensor.Span);
    }

    /// <summary>Noise whose blocks are drawn by the formula of the script.</summary>
    private sealed class Drawn(WeightNoise noise, float drawn, float kept) : ITrainingHook
    {
        public Graph ForStep(Graph network, in StepContext context)
        {
            for (int n = 0; n < noise.Blocks.Count; n++)
            {
                WeightNoise.Block block = noise.Blocks[n];
                if (kept == 0) WeightNoise.SetEnds(block);
                for (int i = 0; i < block.Noise.Length; i++)
                    block.Noise.Span[i] = Math.Sin(3.0 * (i / block.Width) + n + context.Step - 1) > 0.2 ? drawn : kept;
            }
            return noise.Noised(network);
        }
    }

    private sealed class Nothing : ITrainingHook;
}
