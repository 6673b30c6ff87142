using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Cli.Options;

/// <summary>Options that several verbs have, defined once.</summary>
internal static class Shared
{
    public static Option<int?> Threads { get; } = Recursive(Opt.Number("--threads",
        "Threads that compute; by default the number of processors, or ESPALIER_THREADS", 1, Workers.MaxThreads));

    public static Option<bool> Verbose { get; } =
        Recursive(Opt.Flag("--verbose", "Show where in the program an error came from"));

    public static Option<string?> Data { get; } = Opt.Text("--data",
        $"Data set: {string.Join(", ", Datasets.All.Select(d => d.Name))}; or the path of an image folder", "NAME", "--dataset");

    public static Option<string?> DataDir { get; } = Opt.Text("--data-dir",
        "Folder with the data set's files; by default where 'data fetch' or the system puts them", "DIR");

    public static Option<bool> Strict { get; } = Opt.Flag("--strict",
        "Stop at a picture that cannot be read; else it is left out, and named in the end");

    public static Option<string?> Model { get; } = Opt.Text("--model",
        "Checkpoint: safetensors, PyTorch (.pth, .bin), Google's .npz or ONNX; - reads it from a pipe", "FILE");

    public static Option<bool> Averaged { get; } = Opt.Flag("--averaged-weights",
        "Of a training script's checkpoint with both, the averages of the weights (EMA) in the place of the weights");

    /// <summary>The list of names that --classes knows by itself.</summary>
    public const string ImageNetName = "imagenet";

    public static Option<string?> Classes { get; } = Opt.Text("--classes",
        "Names of the classes where the checkpoint has none: 'imagenet', or a file with one a line in the order of the logits",
        ImageNetName + "|FILE.txt");

    public static Option<string?> Config { get; } = Opt.Text("--config", "Model's shape as JSON", "FILE.json");

    public static Option<string?> ModelType { get; } = Opt.Network(
        $"Model's shape by name: {string.Join(", ", VitPresets.Names)}; convolutional networks: "
        + $"{string.Join(", ", CnnPresets.Names)}; timm's and torchvision's names for the same ones");

    public static Option<string?> Preprocess { get; } = Opt.Text("--preprocess",
        "How images become the model's input, where the checkpoint does not say or is to be overruled: "
        + $"{string.Join(", ", Preprocessing.Names)}, or a file as docs/data.md describes it",
        string.Join('|', Preprocessing.Names) + "|FILE.json");

    public static Option<double?> Width { get; } = Opt.Number("--width",
        "Of a new convolutional network: its channel counts times this [1]", 0.01, 4.0, "SHARE");

    public static Option<int?> ImageSize { get; } =
        Opt.Number("--img-size", "Side of the model's input in pixels", 1, 16384, "PIXELS");

    public static Option<float?> Threshold { get; } = Opt.Number("--threshold",
        "Drop a token where its agent's p(prune) is greater; by default what the checkpoint says, or 0.5", 0f, 1f, "P");

    public static Option<double?> KeepShare { get; } = Opt.Number("--keep-share",
        "Each agent keeps this share of the tokens that it sees, instead of deciding by a threshold", 0.0, 1, "SHARE");

    public static Option<string?> Precision { get; } = Opt.Choice("--precision", "Numbers that the products compute in [fp32]",
        [.. Enum.GetValues<Precision>().Select(Format.Name)]);

    public static Option<string?> TrainOnly { get; } = Opt.Text("--train-only",
        "Train only parameters of these names or layers, with * and ?; the others stay bit for bit", "PATTERN,PATTERN");

    public static Option<bool> Resume { get; } = Opt.Flag("--resume",
        "Go on where the run of this name, or with this --output-dir, stopped; it has its options from there");

    public static Option<string?> OutputDir { get; } = Opt.Text("--output-dir", "Folder for what is written", "DIR");

    private static Option<T> Recursive<T>(Option<T> option)
    {
        option.Recursive = true;
        return option;
    }
}
