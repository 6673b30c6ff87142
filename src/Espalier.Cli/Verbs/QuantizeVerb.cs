using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Quantization;
using Espalier.Tensors;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier quantize`: a trained network in 8 or 4 bits.</summary>
internal static class QuantizeVerb
{
    private static readonly Option<string?> Output = Opt.Text("--output", "Where the network of few bits goes",
        "FILE.safetensors");
    private static readonly Option<string?> Calibration = Opt.Text("--calibration",
        "Images without labels that ranges are found on; by default the training images of --data", "DIR");
    private static readonly Option<int?> Images = Opt.Number("--calibration-images", "Of these how many [128]", 1, 1 << 16);
    private static readonly Option<int?> Bits = Opt.Number("--bits", "Of weights [8]", 2, 8);
    private static readonly Option<int?> ValueBits = Opt.Number("--activation-bits", "Of values between layers [8]", 2, 8);
    private static readonly Option<string?> Observer =
        Opt.Choice("--observer", "How ranges are found [mse]", [.. Enum.GetNames<ObserverKind>().Select(n =>
            n.ToLowerInvariant())]);
    private static readonly Option<bool> PerTensor = Opt.Flag("--per-tensor",
        "One scale a weight; else one for each output channel");
    private static readonly Option<bool> Equalise = Opt.Flag("--equalise",
        "Bring channels between two layers to one range first");
    private static readonly Option<bool> CorrectBias = Opt.Flag("--correct-bias",
        "Take the mean error of each layer out of its bias");
    private static readonly Option<bool> SecondMoments = Opt.Flag("--second-moments",
        "Round each weight by what its layer reads (GPTQ), for 4 bits");
    private static readonly Option<string?> Norms = Opt.Choice("--norms",
        "How channels of layer norms share codes [channels]", [.. Enum.GetNames<NormCoding>().Select(n => n.ToLowerInvariant())]);
    private static readonly Option<string?> Probabilities = Opt.Choice("--probabilities",
        "Round those of attention to the bits of values, in these codes; else they stay floats",
        [.. Enum.GetNames<ProbabilityCoding>().Select(n => n.ToLowerInvariant())]);
    private static readonly Option<bool> Attention = Opt.Flag("--attention",
        "Attention's products in 8 bits, too, where that is faster");
    private static readonly Option<string?> Keep = Opt.Text("--keep", "Layers that stay floats", "NAME,NAME");
    private static readonly Option<double?> MinAccuracy = Opt.Number("--min-accuracy",
        "Leave the most sensitive layers floats until this accuracy in % is reached; of images without labels, this share of same answers", 0.0, 100, "PERCENT");
    private static readonly Option<double?> TargetSize = Opt.Number("--target-size",
        "Choose 4 or 8 bits for each layer so that weights take this share of their floats", 0.1, 1, "SHARE");
    private static readonly Option<int?> Limit = Opt.Number("--limit", "Evaluate on the first N test images", 1, int.MaxValue);

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("quantize",
            "Rounds a trained network to 8 or 4 bits by some images, and says what that costs and gains.",
            "espalier quantize --model resnet20.safetensors --data fashion-mnist --output int8.safetensors",
            "espalier quantize --model any.onnx --calibration pictures --output int8.safetensors",
            "espalier quantize --model resnet20.safetensors --bits 4 --second-moments --correct-bias --min-accuracy 92 --output int4.safetensors")
        {
            Shared.Model, CompressFlags.ModelType, Shared.Preprocess, Shared.Data, Shared.DataDir, Shared.Strict, Calibration,
                Images, Output, Bits,
            ValueBits, Observer, PerTensor, Equalise, CorrectBias, SecondMoments, Norms, Attention, Probabilities, Keep,
            MinAccuracy, TargetSize, Limit,
        };
        verb.SetAction(parse => FlagNames.In(parse, [], () =>
        {
            new QuantizeRun(Read(parse), context).Run();
            return ExitCodes.Done;
        }));
        return verb;
    }

    private static QuantizePlan Read(ParseResult p)
    {
        if (p.GetValue(Shared.Model) is null) throw new EspalierException("say which network: --model FILE");
        if (p.GetValue(TargetSize) is not null && p.GetValue(Bits) is not null)
            throw new EspalierException($"{TargetSize.Name} chooses 4 or 8 bits for each layer; leave {Bits.Name} out");
        return new QuantizePlan
        {
            Source = new CompressSource
            {
                Model = p.GetValue(Shared.Model), ModelType = p.GetValue(CompressFlags.ModelType), Preprocess =
                    p.GetValue(Shared.Preprocess),
                Data = p.GetValue(Shared.Data), DataDir = p.GetValue(Shared.DataDir), Strict = p.GetValue(Shared.Strict),
                Calibration = p.GetValue(Calibration),
            },
            Output = p.GetValue(Output),
            Images = p.GetValue(Images) ?? 128,
            Limit = p.GetValue(Limit),
            MinAccuracy = p.GetValue(MinAccuracy) / 100,
            TargetSize = p.GetValue(TargetSize),
            Options = new PostTrainingOptions
            {
                WeightBits = p.GetValue(Bits) ?? 8, ActivationBits = p.GetValue(ValueBits) ?? 8, PerChannel =
                    !p.GetValue(PerTensor),
                Observer = Enum.Parse<ObserverKind>(p.GetValue(Observer) ?? nameof(ObserverKind.Mse), ignoreCase: true),
                Norms = Enum.Parse<NormCoding>(p.GetValue(Norms) ?? nameof(NormCoding.Channels), ignoreCase: true),
                Attention = p.GetValue(Attention),
                Probabilities = p.GetValue(Probabilities) is { } coding
                    ? Enum.Parse<ProbabilityCoding>(coding, ignoreCase: true) : null,
                Equalise = p.GetValue(Equalise), CorrectBias = p.GetValue(CorrectBias), SecondMoments = p.GetValue(SecondMoments),
                Floats = Opt.List(p.GetValue(Keep)).ToHashSet(StringComparer.Ordinal),
            },
        };
    }
}
