using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Inference;

namespace Espalier.Tests.Compression;

/// <summary>Vision transformers for tests of token reduction: small ones with weights, and published shapes without.</summary>
internal static class TokenNets
{
    public static readonly VitConfig Small = new()
    {
        ImageSize = 16, PatchSize = 4, Channels = 1, HiddenSize = 24, MlpDim = 32, NumHeads = 3, NumLayers = 4, NumClasses = 5,
    };

    /// <summary>17 tokens (18 with a distillation token) through 4 blocks, random weights and a head that tells classes
    /// apart.</summary>
    public static Model Vit(bool distilled = false, ulong seed = 7, int classes = 5, VitForm? form = null)
    {
        var vit = new VisionTransformer(Small with { Distilled = distilled, NumClasses = classes }, seed, form);
        var rng = new Rng(seed, key0: 3);
        foreach (var (name, p) in vit.NamedParameters())
            if (p.Rank == 1 || name.Contains("head", StringComparison.Ordinal) || name.Contains("token",
                StringComparison.Ordinal))
                Init.Normal(p, 0.4f, ref rng);
        return Model.FromModule(vit);
    }

    public static Tensor Images(int count)
    {
        var images = new Tensor(new Shape(count, Small.Channels, Small.ImageSize, Small.ImageSize));
        var rng = new Rng(17);
        Init.Normal(images, 1, ref rng);
        return images;
    }

    /// <summary>The graph of a published shape; its weights are shapes only.</summary>
    public static Graph Shapes(int size, int patch, int width, int blocks, int heads)
    {
        int tokens = size / patch * (size / patch) + 1;
        var weights = new List<Tensor>();
        int next = 0;
        bool traced = false;
        var example = new Shape(2, 3, size, size);
        Forward(Tensor.Meta(example));
        traced = true;
        return Graph.Trace(Forward, example, [.. weights.Select((w, i) => ($"w{i}", w))]);

        Tensor Forward(Tensor images)
        {
            next = 0;
            Tensor x = F.AssembleTokens(Linear(F.PatchesToRows(images, patch), width), W(1, tokens, width), W(1, 1, width));
            for (int i = 0; i < blocks; i++)
            {
                Tensor u = Norm(x);
                x = F.Add(Linear(F.Attention(Linear(u, width), Linear(u, width), Linear(u, width),
                    HeadLayout.Uniform(heads, width / heads), 0.1f), width), x);
                x = F.Add(Linear(F.Gelu(Linear(Norm(x), 4 * width)), width), x);
            }
            return Linear(Norm(F.TakeRows(x, 0)), 1000);
        }

        Tensor W(params int[] dims)
        {
            if (!traced) weights.Add(Tensor.Meta(new Shape(dims)));
            return weights[next++];
        }

        Tensor Norm(Tensor x) => F.LayerNorm(x, W(width), W(width), 1e-6f);

        Tensor Linear(Tensor x, int outputs) => F.Linear(x, W(outputs, x.Shape[1]), W(outputs));
    }

    /// <summary>Multiply-adds of an image in units of 10^9, without what it costs to choose and match tokens.</summary>
    public static double Giga(Graph graph)
    {
        long images = graph.Inputs[0].Shape[0];
        long chosen = graph.Nodes.Where(n => n.Op is MatchRowsOp or ClassAttentionOp).Sum(n => n.Op.Cost.MultiplyAdds) / images;
        return (graph.CostPerImage.MultiplyAdds - chosen) / 1e9;
    }

    /// <summary>Tokens of an image behind each block.</summary>
    public static int[] Tokens(Graph graph) =>
        [.. Espalier.Compression.TransformerBlocks.Of(graph).Blocks.Select(b => b.Output.Tensor.Rows!.MaxLength)];

    /// <summary>
    /// A network with shortened rows is one: in a file, in a session and in ONNX it gives what its graph gives, and a training
    /// step reaches every weight.
    /// </summary>
    /// <param name="batch">Images of a file of ONNX at once; 1 where images decide how many tokens stay.</param>
    /// <param name="deciding">What names of weights begin with that only decide which rows stay, and so have no gradient.</param>
    public static void CheckReaders(Model model, int batch = 3, string? deciding = null)
    {
        string folder = Directory.CreateTempSubdirectory("espalier-tokens-").FullName;
        try
        {
            using var scope = new Scope();
            Tensor images = Images(3);
            float[] expected = model.Graph.Run(images).ToArray();
            string file = Path.Combine(folder, "model.safetensors"), onnx = Path.Combine(folder, "model.onnx");
            model.Save(file);
            using (Model read = Model.Open(file)) Assert.Equal(expected, read.Graph.Run(images).ToArray());
            using (Session session = Session.Open(file))
            {
                var actual = new float[expected.Length];
                session.Run(images.Span, 3, actual);
                SessionModel.AssertClose(expected, actual);
                Allocations.AssertNone(() => session.Run(images.Span, 3, actual));
            }
            foreach (int opset in OnnxFile.Opsets)
            {
                OnnxFile.Write(onnx, model.Graph, new OnnxOptions { Opset = opset });
                float[] actual = OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, batch)["logits"]);
                for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f);
            }
            using var recording = new Recording();
            recording.Backward(F.CrossEntropy(model.Graph.Prepared(training: true).Run(images, new RunContext(Training: true)),
                [0, 3, 1]));
            foreach (var (name, weight) in model.Graph.Parameters)
            {
                if (deciding is not null && name.StartsWith(deciding, StringComparison.Ordinal)) continue;
                Assert.True(weight.Grad is not null && weight.Grad.ToArray().All(float.IsFinite), name);
                weight.ClearGrad();
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
