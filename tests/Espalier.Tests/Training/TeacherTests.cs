using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Training;

public sealed class TeacherTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    [Fact]
    public void AConvolutionalNetworkAnswersAsItDoesItself()
    {
        using Cnn net = Save(channels: 1, size: 16);
        using var scope = new Scope();
        Tensor images = Images(1, 16);
        using Teacher teacher = Teacher.Load(path);
        net.Training = false;
        Assert.Equal(net.Forward(images).ToArray(), teacher.Logits(images).ToArray());
    }

    [Fact]
    public void AVisionTransformerAnswersAsItDoesItself()
    {
        using VisionTransformer vit = SaveVit();
        using var scope = new Scope();
        Tensor images = Images(1, 28);
        using Teacher teacher = Teacher.Load(path);
        vit.Training = false;
        Assert.Equal(vit.Forward(images).ToArray(), teacher.Logits(images).ToArray());
    }

    [Fact]
    public void GreyImagesOfAnotherSizeAreBroughtIntoItsForm()
    {
        using Cnn net = Save(channels: 3, size: 32);
        using var scope = new Scope();
        Tensor images = Images(1, 16), large = F.Interpolate(images, 32, 32, ResizeMode.Bilinear);
        using Teacher teacher = Teacher.Load(path);
        net.Training = false;
        Assert.Equal(net.Forward(F.Concat(1, large, large, large)).ToArray(), teacher.Logits(images).ToArray());
    }

    [Fact]
    public void AColourPictureWithoutColourIsTheGreyOne()
    {
        using Cnn net = Save(channels: 1, size: 16);
        using var scope = new Scope();
        Tensor images = Images(1, 16);
        using Teacher teacher = Teacher.Load(path);
        float[] expected = teacher.Logits(images).ToArray(), logits = teacher.Logits(F.Concat(1, images, images, images)).ToArray();
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], logits[i], 1e-4f);
    }

    [Fact]
    public void ClassesMustAgree()
    {
        Save(channels: 1, size: 16, names: ["a", "b", "c"]).Dispose();
        using Teacher teacher = Teacher.Load(path);
        Assert.Same(teacher, teacher.Checked(3, ["a", "b", "c"], 1));
        Assert.Same(teacher, teacher.Checked(3, null, 3));
        Assert.Contains("3 classes", Assert.Throws<EspalierException>(() => teacher.Checked(4, null, 1)).Message);
        Assert.Contains("class 1 is 'b'", Assert.Throws<EspalierException>(() => teacher.Checked(3, ["a", "c", "b"], 1)).Message);
        Assert.Contains("2", Assert.Throws<EspalierException>(() => teacher.Checked(3, null, 2)).Message);
    }

    [Fact]
    public void PublishedWeightsNeedTheNetworksName()
    {
        var config = new CnnConfig("resnet20") { ImageSize = 32, Channels = 3, NumClasses = 10 };
        using (Cnn net = CnnPresets.Create(config))
            Safetensors.Write(path, net.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray())), null);
        Assert.Throws<EspalierException>(() => Teacher.Load(path));
        Assert.Throws<EspalierException>(() => Teacher.Load(path, "resnet21"));
        using Teacher teacher = Teacher.Load(path, "resnet20");
        Assert.Same(teacher, teacher.Checked(10, null, 3));
    }

    private Cnn Save(int channels, int size, string[]? names = null)
    {
        var config = new CnnConfig("cifar-vgg11") { ImageSize = size, Channels = channels, NumClasses = names?.Length ?? 10, Width = 0.1 };
        Cnn net = CnnPresets.Create(config, seed: 3);
        CnnFile.Save(path, net, new CnnStructure { Config = config, ClassNames = names });
        return net;
    }

    private VisionTransformer SaveVit()
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        var vit = new VisionTransformer(config, seed: 3);
        var rng = new Rng(8);
        foreach (Tensor t in vit.Parameters()) foreach (ref float x in t.Span) x = 0.1f * rng.NextNormal();
        ModelFile.Save(path, vit, new ModelStructure { Config = config });
        return vit;
    }

    private static Tensor Images(int channels, int size)
    {
        var images = new Tensor(new Shape(2, channels, size, size));
        var rng = new Rng(4);
        foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
        return images;
    }
}
