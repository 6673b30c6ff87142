using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Models;
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
        float[] expected = vit.Forward(images).ToArray(), logits = teacher.Logits(images).ToArray();
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], logits[i], 1e-5f);
    }

    [Fact]
    public void GreyImagesOfAnotherSizeAreBroughtIntoItsForm()
    {
        using Cnn net = Save(channels: 3, size: 32);
        using var scope = new Scope();
        Tensor images = Images(1, 16), large = F.Interpolate(images, 32, 32, ResizeMode.Bilinear);
        using Teacher teacher = Teacher.Load(path).For(10, null, Preprocessing.Half(16, 1));
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
        float[] expected = teacher.Logits(images).ToArray();
        teacher.For(10, null, Preprocessing.Half(16, 3));
        float[] logits = teacher.Logits(F.Concat(1, images, images, images)).ToArray();
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], logits[i], 1e-4f);
    }

    /// <summary>The student has mean and deviation 0.5, its teacher ImageNet's, and both see the same picture.</summary>
    [Fact]
    public void ATeacherHasItsOwnPixels()
    {
        Preprocessing own = Preprocessing.Preset("imagenet", 32) with { Fit = ResizeFit.Square, Resize = 32, Crop = null };
        using Cnn net = Save(channels: 3, size: 32, preprocessing: own);
        using var scope = new Scope();
        using Teacher teacher = Teacher.Load(path).For(10, null, Preprocessing.Half(32, 3));
        net.Training = false;
        Tensor students = Pixels(Preprocessing.Half(32, 3)), expected = net.Forward(Pixels(own));
        float[] logits = teacher.Logits(students).ToArray(), wrong = net.Forward(students).ToArray();
        for (int i = 0; i < logits.Length; i++) Assert.Equal(expected.Span[i], logits[i], 1e-5f);
        Assert.Contains(Enumerable.Range(0, logits.Length), i => Math.Abs(wrong[i] - expected.Span[i]) > 1e-3f);

        static Tensor Pixels(Preprocessing p)
        {
            var image = new Image(45, 40, 3);
            for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)(i * 7 + i / 300);
            var pixels = new Tensor(new Shape(1, 3, 32, 32));
            var rng = new Rng(0);
            ImagePipeline.Eval(p).Run(image, ref rng, pixels.Span);
            return pixels;
        }
    }

    [Fact]
    public void ClassesMustAgree()
    {
        Save(channels: 1, size: 16, names: ["a", "b", "c"]).Dispose();
        using Teacher teacher = Teacher.Load(path);
        Assert.Same(teacher, teacher.For(3, ["a", "b", "c"], Grey));
        Assert.Same(teacher, teacher.For(3, null, Preprocessing.Half(16, 3)));
        Assert.Contains("3 classes", Assert.Throws<EspalierException>(() => teacher.For(4, null, Grey)).Message);
        Assert.Contains("class 1 is 'b'", Assert.Throws<EspalierException>(() => teacher.For(3, ["a", "c", "b"], Grey)).Message);
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
        Assert.Same(teacher, teacher.For(10, null, Preprocessing.Half(32, 3)));
    }

    private static Preprocessing Grey => Preprocessing.Half(16, 1);

    private Cnn Save(int channels, int size, string[]? names = null, Preprocessing? preprocessing = null)
    {
        var config = new CnnConfig("cifar-vgg11") { ImageSize = size, Channels = channels, NumClasses = names?.Length ?? 10, Width = 0.1 };
        Cnn net = CnnPresets.Create(config, seed: 3);
        FormatOne.Save(path, net, new CnnStructure { Config = config, ClassNames = names, Preprocessing = preprocessing });
        return net;
    }

    private VisionTransformer SaveVit()
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        var vit = new VisionTransformer(config, seed: 3);
        var rng = new Rng(8);
        foreach (Tensor t in vit.Parameters()) foreach (ref float x in t.Span) x = 0.1f * rng.NextNormal();
        FormatOne.Save(path, vit);
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
