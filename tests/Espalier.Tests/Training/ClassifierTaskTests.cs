using Espalier.Data;
using Espalier.Files;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Training;

public sealed class ClassifierTaskTests
{
    /// <summary>DeiT: the labels reach the class head alone, the teacher the distillation head alone; both reach the rest.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(0.25f)]
    [InlineData(1)]
    public void LabelsAndTeacherEachHaveTheirHead(float weight)
    {
        using Model vit = Model.FromModule(Vit(distilled: true));
        float[] answers = [.. Enumerable.Range(0, 40).Select(i => i % 10 == 3 * (i / 10) ? 1f : 0)];
        var (loss, gradients) = Step(vit, new Distillation(DistillationKind.DeitHard, weight), answers);

        using var scope = new Scope();
        Tensor[] heads = vit.Graph.Between(vit.Graph.Inputs, ModelHead.Pair(vit.Graph)!).Run([Images()]);
        var (byLabels, byTeacher) = (heads[0], heads[1]);
        Assert.NotEqual(byLabels.ToArray(), byTeacher.ToArray());
        double expected = (1 - weight) * F.CrossEntropy(byLabels, [0, 1, 2, 3]).Item()
            + weight * F.CrossEntropy(byTeacher, [0, 3, 6, 9]).Item();
        Assert.Equal(expected, loss, 1e-4);
        Assert.Equal(weight < 1, Moves("head.weight"));
        Assert.Equal(weight > 0, Moves("head_dist.weight"));
        Assert.True(Moves("transformer.embeddings.patch_embeddings.weight"));

        bool Moves(string name) => gradients[name].Any(g => g != 0);
    }

    [Fact]
    public void TheAnswerIsTheMeanOfBothHeads()
    {
        using VisionTransformer vit = Vit(distilled: true), plain = Vit(distilled: false);
        using var scope = new Scope();
        Graph graph = vit.Trace();
        Tensor[] heads = graph.Between(graph.Inputs, ModelHead.Pair(graph)!).Run([Images()]);
        Assert.Equal(F.Mul(F.Add(heads[0], heads[1]), 0.5f).ToArray(), vit.Forward(Images()).ToArray());
        Assert.Null(ModelHead.Pair(plain.Trace()));
    }

    [Fact]
    public void WithoutATeacherBothHeadsLearnTheLabels()
    {
        using Model vit = Model.FromModule(Vit(distilled: true));
        var (_, gradients) = Step(vit, null, null);
        Assert.Contains(gradients["head_dist.weight"], g => g != 0);
        Assert.Equal(gradients["head.bias"], gradients["head_dist.bias"]);
    }

    /// <summary>What was edited after the task was made is what trains.</summary>
    [Fact]
    public void AnEditedNetworkTrainsAsItIsThen()
    {
        using Model vit = Model.FromModule(Vit(distilled: true));
        var task = new ClassifierTask(vit, new ClassifierTaskOptions { Distillation = Distillation.DeitHard, Teacher = _ => Answers() });
        double before = Run();
        vit.Graph.InsertAfter(ModelHead.Pair(vit.Graph)![1], x => F.Mul(x, 3));
        Assert.Null(ModelHead.Pair(vit.Graph));
        vit.Graph.Remove(vit.Graph.Nodes.Single(n => n.Op is AffineOp { Scale: 3 }));
        Assert.Equal(before, Run());
        vit.Graph.InsertAfter(vit.Graph["transformer.encoder.layer.5"], x => F.Mul(x, -2));
        Assert.NotEqual(before, Run());

        static Tensor Answers() => Tensor.From(new Shape(4, 10), [.. Enumerable.Range(0, 40).Select(i => i % 7 == 0 ? 1f : 0)]);

        double Run()
        {
            using var loader = new DataLoader(Data(), ImagePipeline.Eval(28, 1), 4, threads: 0);
            using var scope = new Scope();
            double loss = task.Step(loader.Next(), new StepContext(1, 1, 0, 0, 1, new Rng(1)))["loss"];
            foreach (var (_, parameter) in vit.Graph.Parameters) parameter.ClearGrad();
            return loss;
        }
    }

    private static (double Loss, Dictionary<string, float[]> Gradients) Step(Model vit, Distillation? how,
        float[]? answers)
    {
        var pipeline = ImagePipeline.Eval(28, 1);
        var task = new ClassifierTask(vit, new ClassifierTaskOptions
        {
            Distillation = how, Teacher = answers is null ? null : _ => Tensor.From(new Shape(4, 10), answers),
        });
        using var loader = new DataLoader(Data(), pipeline, 4, threads: 0);
        using var scope = new Scope();
        double loss = task.Step(loader.Next(), new StepContext(1, 1, 0, 0, 1, new Rng(1)))["loss"];
        var gradients = vit.Graph.Parameters.ToDictionary(p => p.Name, p => p.Value.Grad?.ToArray() ?? []);
        foreach (var (_, parameter) in vit.Graph.Parameters) parameter.ClearGrad();
        return (loss, gradients);
    }

    /// <summary>Four images of classes 0 to 3.</summary>
    private static Subset Data()
    {
        IImageDataset all = Datasets.OpenSample().Test;
        return new Subset(all, [.. Enumerable.Range(0, 4).Select(c => Enumerable.Range(0, all.Count).First(i => all.Label(i) == c))]);
    }

    private static Tensor Images()
    {
        using var loader = new DataLoader(Data(), ImagePipeline.Eval(28, 1), 4, threads: 0);
        return loader.Next().ToTensor(1, 28);
    }

    private static VisionTransformer Vit(bool distilled)
    {
        var vit = new VisionTransformer(VitPresets.Get("vit-tiny-28") with { Distilled = distilled }, seed: 5);
        var rng = new Rng(9);
        foreach (var (_, tensor) in vit.NamedParameters().Where(p => p.Name.StartsWith("head", StringComparison.Ordinal)))
            foreach (ref float x in tensor.Span) x = 0.3f * rng.NextNormal();
        return vit;
    }
}
