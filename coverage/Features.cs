using System.Globalization;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Coverage;

/// <summary>
/// A trained network without a classifier on photographs: its features against ONNX Runtime's, and how far they are the whole
/// network's once multiply-adds are gone, before and after recovery, and in eight bits.
/// </summary>
internal sealed class Features(string file, IImageDataset seen, IImageDataset held)
{
    /// <summary>Images at most that features are compared on, and that ranges of values are found on.</summary>
    private const int Compared = 4096, Ranged = 128;

    private static readonly double[] Shares = [0.7, 0.5];
    private static readonly string[] Methods = ["l1"];

    /// <param name="seen">A folder of pictures that recovery looks at.</param>
    /// <param name="held">A folder of other pictures, which features are compared on.</param>
    public static int Run(string file, string seen, string held, string page)
    {
        var features = new Features(file, FolderDataset.Unlabelled(seen, out _), FolderDataset.Unlabelled(held, out _));
        List<string> lines = [];
        foreach (string line in features.Lines())
        {
            lines.Add(line);
            Console.WriteLine(line);
            Page.Write(page, "features", lines);
        }
        return 0;
    }

    private IEnumerable<string> Lines()
    {
        using Model whole = Open();
        ImagePipeline pipeline = ImagePipeline.Eval(whole.Card.Preprocessing!);
        using Session session = whole.Session();
        using var peer = new OnnxPeer(file);
        double most = 0, cosine = 0;
        int images = 0;
        foreach (Tensor batch in Images(held, pipeline))
        {
            int values = (int)(batch.Length / batch.Shape[0]);
            for (int i = 0; i < batch.Shape[0]; i++, images++)
            {
                float[] x = batch.Span.Slice(i * values, values).ToArray(), y = new float[session.ResultValues];
                session.Run(x, 1, y);
                float[] expected = peer.Run(x);
                most = Math.Max(most, Removal.Difference(expected, y) / expected.Max(MathF.Abs));
                cosine += System.Numerics.Tensors.TensorPrimitives.CosineSimilarity<float>(expected, y);
            }
        }
        yield return string.Create(CultureInfo.InvariantCulture, $"Against ONNX Runtime on the {images} held-out images: largest difference ")
            + string.Create(CultureInfo.InvariantCulture, $"{most:0.0e+0} of the largest feature, mean cosine {cosine / images:0.000000}.");
        yield return "";
        yield return "| multiply-adds left | removed by | cosine | recovered from " + $"{seen.Count} images |";
        yield return "| --- | --- | ---: | ---: |";
        foreach (double share in Shares)
            foreach (string method in Methods)
            {
                (double left, double before) = Cosine(session, method, share, recover: false);
                (_, double after) = Cosine(session, method, share, recover: true);
                yield return string.Create(CultureInfo.InvariantCulture, $"| {left:0.00} | `{method}` | {before:0.0000} | {after:0.0000} |");
            }
        yield return "";
        yield return $"| 8 bits, ranges of {Math.Min(Ranged, seen.Count)} images by | cosine |";
        yield return "| --- | ---: |";
        foreach (ObserverKind observer in Enum.GetValues<ObserverKind>())
            yield return string.Create(CultureInfo.InvariantCulture,
                $"| `{observer.ToString().ToLowerInvariant()}` | {Rounded(session, observer):0.0000} |");
    }

    /// <summary>The mean cosine of features in 8 bits with the whole network's.</summary>
    private double Rounded(Session whole, ObserverKind observer)
    {
        using Model model = Open();
        ImagePipeline pipeline = ImagePipeline.Eval(model.Card.Preprocessing!);
        PostTraining.Run(model.Graph, CalibrationImages.Of(seen, pipeline, Ranged),
            new PostTrainingOptions { Observer = observer });
        using Session small = model.Session();
        return SideBySide.Outputs(whole, small, Images(held, pipeline)).Cosine;
    }

    /// <summary>What is left of the multiply-adds, and the mean cosine of features with the whole network's.</summary>
    private (double Left, double Cosine) Cosine(Session whole, string method, double share, bool recover)
    {
        using Model model = Open();
        ImagePipeline pipeline = ImagePipeline.Eval(model.Card.Preprocessing!);
        CompressionMethod how = CompressionMethods.Get(method) with
        {
            TargetFlops = share, Recover = recover ? new RecoverOptions() : null, Calibration = seen,
        };
        var job = new CompressionJob(model, new TrainingData(seen, pipeline, held, pipeline), how);
        job.Run();
        PlanSummary summary = job.Removals.Single().Summary;
        using Session small = model.Session();
        return ((double)summary.MultiplyAddsAfter / summary.MultiplyAddsBefore, SideBySide.Outputs(whole, small, Images(held, pipeline)).Cosine);
    }

    /// <summary>The network with what ML.NET does to pictures: blue, green, red from 0 to 255, less a mean.</summary>
    private Model Open()
    {
        Model model = Model.Open(file);
        model.Card = model.Card with
        {
            Features = true,
            Preprocessing = new Preprocessing
            {
                Resize = model.ImageSize, Fit = ResizeFit.Square, Filter = Interpolation.Bilinear, Colors = ColorOrder.Bgr, Divisor = 1,
                Mean = [103.939f, 116.779f, 123.68f], Std = [1],
            },
        };
        return model;
    }

    private static IEnumerable<Tensor> Images(IImageDataset data, ImagePipeline pipeline) => CalibrationImages.Of(data, pipeline, Compared);
}
