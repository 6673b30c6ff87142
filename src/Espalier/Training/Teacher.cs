using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// A finished network that teaches another: any model file (every token kept). It sees the same part of a picture as the student,
/// augmentation included, but as its own <see cref="Preprocessing"/> wants it: in its size, its colours, and with its mean and
/// deviation.
/// </summary>
public sealed class Teacher : IDisposable
{
    private readonly Model model;
    private readonly string source;
    private readonly Preprocessing own;
    private PixelMap? map;

    private Teacher(Model model, string source)
    {
        (this.model, this.source) = (model, source);
        if (model.Channels is not (1 or 3))
            using (model)
                throw new EspalierException($"{source}: the teacher sees {model.Channels} channels; pictures have 1 or 3");
        own = model.Card.Preprocessing ?? Preprocessing.Half(model.ImageSize, model.Channels);
    }

    /// <param name="type">The network's name, for published weights whose file does not say what it is of.</param>
    /// <exception cref="EspalierException">The file cannot be read, or there is no network of that name.</exception>
    public static Teacher Load(string path, string? type = null) =>
        new(Model.Open(path, new OpenOptions { Architecture = type }), path);

    /// <summary>A model that is at hand, which becomes the teacher's.</summary>
    public static Teacher Of(Model model) => new(model, model.Description);

    /// <summary>
    /// Makes it the teacher of such a student. Until then it expects images as its own preprocessing makes them.
    /// </summary>
    /// <param name="names">The student's classes in the order of its logits; null where they are not known.</param>
    /// <param name="student">How the student's images were made.</param>
    /// <exception cref="EspalierException">It cannot teach it; one line says why.</exception>
    public Teacher For(int numClasses, IReadOnlyList<string>? names, Preprocessing student)
    {
        if (numClasses != model.NumClasses)
            throw new EspalierException($"{source}: the teacher has {model.NumClasses} classes, but its student has "
                + $"{numClasses}; use one of the same classes");
        IReadOnlyList<string>? classNames = model.Card.Classes;
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
        using Recording.PauseBlock _ = Recording.Pause();
        images = (map ?? new PixelMap(own, own)).Run(images);
        int size = model.ImageSize;
        if (images.Shape[2] != size) images = F.Interpolate(images, size, size, ResizeMode.Bilinear);
        return model.Graph.Prepared(training: false).Run(images, new RunContext(Keep: KeepRule.All));
    }

    public void Dispose() => model.Dispose();
}
