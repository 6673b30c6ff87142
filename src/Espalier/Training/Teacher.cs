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
    private readonly Func<Tensor, Tensor> forward;
    private readonly IReadOnlyList<string>? classNames;
    private readonly int classes, channels, imageSize;
    private readonly string source;

    private Teacher(LoadedCnn model, string source)
    {
        (owner, forward, classNames, this.source) = (model, model.Net.Forward, model.Structure.ClassNames, source);
        (classes, channels, imageSize) = (model.Net.NumClasses, model.Net.Channels, model.Net.ImageSize);
    }

    private Teacher(LoadedModel model, string source)
    {
        (owner, forward, classNames, this.source) = (model, model.Vit.Forward, model.Structure.ClassNames, source);
        (classes, channels, imageSize) = (model.Vit.Config.NumClasses, model.Vit.Config.Channels, model.Vit.Config.ImageSize);
    }

    /// <param name="type">The network's name, for published weights whose file does not say what it is of.</param>
    /// <exception cref="EspalierException">The file cannot be read, or there is no network of that name.</exception>
    public static Teacher Load(string path, string? type = null)
    {
        if (type is null)
            return CnnFile.IsCnn(path) ? new Teacher(CnnFile.Load(path), path) : new Teacher(ModelFile.Load(path), path);
        if (CnnPresets.Names.Contains(type)) return new Teacher(CnnFile.Load(path, CnnPresets.Get(type)), path);
        return new Teacher(ModelFile.Load(path, ModelFile.FitTo(path, VitPresets.Get(type))), path);
    }

    /// <summary>Whether it can teach such a student.</summary>
    /// <param name="names">The student's classes in the order of its logits; null where they are not known.</param>
    /// <param name="imageChannels">Of the student's images.</param>
    /// <exception cref="EspalierException">It cannot; one line says why.</exception>
    public Teacher Checked(int numClasses, IReadOnlyList<string>? names, int imageChannels)
    {
        if (numClasses != classes)
            throw new EspalierException($"{source}: the teacher has {classes} classes, but its student has {numClasses}; "
                + "use one of the same classes");
        if (names is not null && classNames is not null && !names.SequenceEqual(classNames))
        {
            int at = names.Zip(classNames).TakeWhile(p => p.First == p.Second).Count();
            throw new EspalierException($"{source}: the teacher's class {at} is '{classNames[at]}', but its student's is "
                + $"'{names[at]}'; use one of the same classes");
        }
        if (channels != imageChannels && (channels, imageChannels) is not ((1, 3) or (3, 1)))
            throw new EspalierException($"{source}: the teacher sees {channels} channels and its student {imageChannels}; "
                + "only grey and RGB can be turned into one another");
        return this;
    }

    /// <summary>The student's images [N, C, S, S] -> logits [N, K]; no gradient goes through.</summary>
    public Tensor Logits(Tensor images)
    {
        if (images.Shape[1] != channels) images = channels == 3 ? F.Concat(1, images, images, images) : Grey(images);
        if (images.Shape[2] != imageSize) images = F.Interpolate(images, imageSize, imageSize, ResizeMode.Bilinear);
        return forward(images);
    }

    public void Dispose() => owner.Dispose();

    private static Tensor Grey(Tensor images) =>
        Enumerable.Range(0, 3).Select(c => F.Mul(F.Slice(images, 1, c, 1), Luma[c])).Aggregate(F.Add);
}
