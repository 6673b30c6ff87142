using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>A network of the table.</summary>
internal sealed record FilterNetwork(string Name, double Width);

/// <summary>
/// The runs behind the table of filter pruning on Fashion-MNIST. For each network and seed one common training; from there every
/// method with the same number of steps and the same target of multiply-adds, the network itself with these steps too, and every
/// shape that came out with new weights and all the steps.
/// </summary>
internal sealed class FilterReproduction(CommandContext context, string folder, string? dataDir, long steps, double share)
{
    public const int BatchSize = 64;
    public const float LearningRate = 0.05f, WeightDecay = 5e-4f;

    /// <summary>The id of the network with all its channels.</summary>
    public const string Whole = "whole";

    private const string Common = "start";
    private const int ImageSize = 28;

    public static IReadOnlyList<FilterNetwork> Networks { get; } = [new("cifar-vgg16", 0.25), new("resnet20", 1)];

    /// <summary>Steps of the common training, and again steps of each method.</summary>
    public long Steps => steps;

    /// <summary>Of the multiply-adds, to keep.</summary>
    public double Share => share;

    public NetworkRuns Runs { get; } = new(context, folder, Datasets.Open("fashion-mnist", dataDir), ImageSize, steps);

    /// <summary>The id of a shape trained from scratch.</summary>
    public static string Scratch(string shape) => $"scratch-{shape}";

    /// <summary>A run's files.</summary>
    public static string Name(FilterNetwork network, string id, ulong seed) => $"{network.Name}-{id}-{seed}";

    /// <summary>Everything with this seed.</summary>
    public void Train(ulong seed)
    {
        foreach (FilterNetwork network in Networks)
        {
            string Run(string id) => Name(network, id, seed);
            Model Start() => Runs.Open(Run(Common));
            CompressionOptions plain = Trained(new CompressionOptions { Seed = seed });
            Runs.Do(Run(Common), () => Runs.New(network.Name, network.Width, seed), plain, job => job.Train("train", steps));
            Runs.Do(Run(Whole), Start, plain, job => job.Train("train on", steps), steps);
            foreach (FilterMethod method in FilterMethod.All.Where(m => !m.NotFor.Contains(network.Name)))
            {
                using Model? teacher = method.Distilled ? Runs.Open(Run(Whole)) : null;
                CompressionOptions options = Trained(method.Options(steps, share, seed));
                if (teacher is not null)
                {
                    Func<Tensors.Tensor, Tensors.Tensor> logits = x => teacher.Graph.Prepared(training: false).Run(x);
                    options = options with { Task = new() { Distillation = Distillation.Hinton, Teacher = logits } };
                }
                RunRecord record = Runs.Do(Run(method.Id), Start, options, job => job.Run(), steps);
                Runs.Do(Run(Scratch(record.Shape)), () => Runs.Fresh(Run(method.Id), seed), plain, job =>
                {
                    job.Train("train", steps);
                    job.Train("train on", steps);
                });
            }
        }
    }

    /// <summary>As all is trained here.</summary>
    public static CompressionOptions Trained(CompressionOptions options) => options with
    {
        Training = new TrainOptions { BatchSize = BatchSize, LearningRate = LearningRate, WeightDecay = WeightDecay },
    };
}
