using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// A finished network that teaches another: any checkpoint, convolutional or a vision transformer (all tokens kept). It sees the
/// same part of a picture as the student, augmentation included, but as its own <see cref="Preprocessing"/> wants it: in its
/// size, its colours, and with its mean and deviation.
/// </summary>
public sealed class Teacher : IDisposable
{
    private readonly IDisposable owner;
    private readonly ImageClassifier net;
    private readonly IReadOnlyList<string>? classNames;
    private readonly string source;
    private readonly Preprocessing own;
    private PixelMap? map;

    private Teacher(
        IDisposable owner, ImageClassifier net, Preprocessing? own, IReadOnlyList<string>? classNames, string source)
    {
        (this.owner, this.net, this.classNames, this.source) = (owner, net, classNames, source);
        if (own is null)
            using (owner)
                throw new EspalierException($"{source}: the teacher sees {net.Channels} channels; pictures have 1 or 3");
        this.own = own;
    }

    /// <param name="type">The network's name, for published weights whose file does not say what it is of.</param>
    /// <exception cref="EspalierException">The file cannot be read, or there is no network of that name.</exception>
    public static Teacher Load(string path, string? type = null)
    {
        if (type is null ? CnnFile.IsCnn(path) : CnnPresets.Names.Contains(type))
        {
            LoadedCnn cnn = CnnFile.Load(path, type is null ? null : CnnPresets.Get(type));
            return new Teacher(cnn, cnn.Net, cnn.Structure.Preprocessing, cnn.Structure.ClassNames, path);
        }
        LoadedModel vit = ModelFile.Load(path, type is null ? null : ModelFile.FitTo(path, VitPresets.Get(type)));
        return new Teacher(vit, vit.Vit, vit.Structure.Preprocessing, vit.Structure.ClassNames, path);
    }

    /// <summary>
    /// Makes it the teacher of such a student. Until then it expects images as its own preprocessing makes them.
    /// </summary>
    /// <param name="names">The student's classes in the order of its logits; null where they are not known.</param>
    /// <param name="student">How the student's images were made.</param>
    /// <exception cref="EspalierException">It cannot teach it; one line says why.</exception>
    public Teacher For(int numClasses, IReadOnlyList<string>? names, Preprocessing student)
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
        map = new PixelMap(student, own);
        return this;
    }

    /// <summary>The student's images [N, C, S, S] -> logits [N, K]; no gradient goes through.</summary>
    public Tensor Logits(Tensor images)
    {
        images = (map ?? new PixelMap(own, own)).Run(images);
        int size = net.ImageSize;
        if (images.Shape[2] != size) images = F.Interpolate(images, size, size, ResizeMode.Bilinear);
        return net.Forward(images);
    }

    public void Dispose() => owner.Dispose();
}
