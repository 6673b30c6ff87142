using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// A finished network that teaches another: any checkpoint, convolutional or a vision transformer (all tokens kept). It sees the
/// student's images; where it was made for another size or for grey instead of colour, they are brought into its form.
/// </summary>
public sealed class Teacher : IDisposable
{
    // ITU-R BT.601, as grey pictures are made elsewhere in this library.
    private static readonly float[] Luma = [0.299f, 0.587f, 0.114f];

    private readonly IDisposable owner;
    private readonly ImageClassifier net;
    private readonly IReadOnlyList<string>? classNames;
    private readonly string source;

    private Teacher(IDisposable owner, ImageClassifier net, IReadOnlyList<string>? classNames, string source) =>
        (this.owner, this.net, this.classNames, this.source) = (owner, net, classNames, source);

    /// <param name="type">The network's name, for published weights whose file does not say what it is of.</param>
    /// <exception cref="EspalierException">The file cannot be read, or there is no network of that name.</exception>
    public static Teacher Load(string path, string? type = null)
    {
        if (type is null ? CnnFile.IsCnn(path) : CnnPresets.Names.Contains(type))
        {
            LoadedCnn cnn = CnnFile.Load(path, type is null ? null : CnnPresets.Get(type));
            return new Teacher(cnn, cnn.Net, cnn.Structure.ClassNames, path);
        }
        LoadedModel vit = ModelFile.Load(path, type is null ? null : ModelFile.FitTo(path, VitPresets.Get(type)));
        return new Teacher(vit, vit.Vit, vit.Structure.ClassNames, path);
    }

    /// <summary>Whether it can teach such a student.</summary>
    /// <param name="names">The student's classes in the order of its logits; null where they are not known.</param>
    /// <param name="imageChannels">Of the student's images.</param>
    /// <exception cref="EspalierException">It cannot; one line says why.</exception>
    public Teacher Checked(int numClasses, IReadOnlyList<string>? names, int imageChannels)
    {
        if (numClasses != net.NumClasses)
            throw new EspalierException($"{source}: the teacher has {net.NumClasses} classes, but its student has {numClasses}; "
                + "use one of the same classes");
        if (names is not null && classNames is not null && !names.SequenceEqual(classNames))
        {
            int at = names.Zip(classNames).TakeWhile(p => p.First == p.Second).Count();
            throw new EspalierException($"{source}: the teacher's class {at} is '{classNames[at]}', but its student's is "
                + $"'{names[at]}'; use one of the same classes");
        }
        if (net.Channels != imageChannels && (net.Channels, imageChannels) is not ((1, 3) or (3, 1)))
            throw new EspalierException($"{source}: the teacher sees {net.Channels} channels and its student {imageChannels}; "
                + "only grey and RGB can be turned into one another");
        return this;
    }

    /// <summary>The student's images [N, C, S, S] -> logits [N, K]; no gradient goes through.</summary>
    public Tensor Logits(Tensor images)
    {
        if (images.Shape[1] != net.Channels) images = net.Channels == 3 ? F.Concat(1, images, images, images) : Grey(images);
        int size = net.ImageSize;
        if (images.Shape[2] != size) images = F.Interpolate(images, size, size, ResizeMode.Bilinear);
        return net.Forward(images);
    }

    public void Dispose() => owner.Dispose();

    private static Tensor Grey(Tensor images) =>
        Enumerable.Range(0, 3).Select(c => F.Mul(F.Slice(images, 1, c, 1), Luma[c])).Aggregate(F.Add);
}
