using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>Reads a model's tensors one after another and packs each at once: the memory it needs besides the packed weights is
/// that of the largest product's weights.</summary>
internal sealed unsafe class WeightPacker : IDisposable
{
    private const string Embeddings = "transformer.embeddings.", Encoder = "transformer.encoder.";

    private readonly IWeightSource source;
    private readonly Precision precision;
    private readonly VitConfig config;
    private readonly Tensor scratch;

    private WeightPacker(IWeightSource source, Precision precision)
    {
        (this.source, this.precision, config) = (source, precision, source.Structure.Config);
        long d = config.HiddenSize, patch = (long)config.PatchChannels * config.PatchSize * config.PatchSize;
        long most = new[] { 3 * d * d, d * config.MlpDim, d * patch, d * config.NumClasses, d * config.Tokens }.Max();
        if (source.AgentLayers.Count > 0) most = Math.Max(most, 4 * d * d);
        scratch = Tensor.Unscoped(new Shape(checked((int)most)));
    }

    public static VitWeights Pack(IWeightSource source, Precision precision)
    {
        using var packer = new WeightPacker(source, precision);
        return packer.All();
    }

    public void Dispose() => scratch.Dispose();

    private VitWeights All()
    {
        VitConfig c = config;
        int d = c.HiddenSize, last = c.NumLayers - 1;
        var agents = new AgentWeights?[c.NumLayers];
        for (int i = 0; i < source.AgentLayers.Count; i++)
            agents[source.AgentLayers[i]] = AgentWeights.Read(source, $"{Encoder}clip_layer.{i}.", d, scratch.Data);
        return new VitWeights
        {
            Config = c,
            Stem = c.Stem == VitStem.Patches ? null : Stem(),
            Patches = Matrix(Precision.Fp32, d, c.PatchChannels * c.PatchSize * c.PatchSize,
                Embeddings + "patch_embeddings.weight"),
            Table = Table(),
            // An agent after the last block looks at all of its rows.
            Blocks = [.. Enumerable.Range(0, c.NumLayers).Select(i => Block(i, narrow: i == last && agents[i] is null))],
            AgentAfter = agents,
            Norm = Norm(Encoder + "encoder_norm"),
            Head = Layer(Precision.Fp32, c.NumClasses, d, "head"),
            DistillationHead = c.Distilled ? Layer(Precision.Fp32, c.NumClasses, d, "head_dist") : null,
        };
    }

    private BlockWeights Block(int index, bool narrow)
    {
        string prefix = $"{Encoder}layer.{index}.";
        int d = config.HiddenSize, m = config.MlpDim;
        string[] parts = [prefix + "attn.query", prefix + "attn.key", prefix + "attn.value"];
        return new BlockWeights(
            Norm(prefix + "attention_norm"),
            narrow ? Layer(precision, d, d, parts[0]) : null,
            Layer(precision, d, d, narrow ? parts[1..] : parts),
            Layer(precision, d, d, prefix + "attn.out"),
            Norm(prefix + "ffn_norm"),
            Layer(precision, m, d, prefix + "ffn.fc1"),
            Layer(precision, d, m, prefix + "ffn.fc2"));
    }

    /// <summary>The layers of those names one below the other, as one product.</summary>
    private PackedLayer Layer(Precision numbers, int outputs, int inputs, params ReadOnlySpan<string> names)
    {
        Tensor bias = Tensor.Unscoped(new Shape(names.Length * outputs));
        for (int i = 0; i < names.Length; i++)
        {
            source.Read(names[i] + ".weight", scratch.Span.Slice(i * outputs * inputs, outputs * inputs));
            source.Read(names[i] + ".bias", bias.Span.Slice(i * outputs, outputs));
        }
        return new PackedLayer(PackedLinear.Create(numbers, names.Length * outputs, inputs, scratch.Data), bias);
    }

    private PackedLinear Matrix(Precision numbers, int outputs, int inputs, string name)
    {
        source.Read(name, scratch.Span[..(outputs * inputs)]);
        return PackedLinear.Create(numbers, outputs, inputs, scratch.Data);
    }

    private NormWeights Norm(string name) => new(Vector(name + ".weight"), Vector(name + ".bias"));

    private Tensor Vector(string name)
    {
        Tensor vector = Tensor.Unscoped(new Shape(config.HiddenSize));
        source.Read(name, vector.Span);
        return vector;
    }

    private Tensor Table()
    {
        int d = config.HiddenSize;
        Tensor table = Tensor.Unscoped(new Shape(config.Tokens, d));
        source.Read(Embeddings + "position_embeddings", table.Span);
        string[] prefix = config.Distilled ? ["cls_token", "dist_token"] : ["cls_token"];
        Span<float> row = scratch.Span[..d];
        for (int t = 0; t < config.Tokens; t++)
        {
            if (t <= prefix.Length) source.Read(Embeddings + (t < prefix.Length ? prefix[t] : "patch_embeddings.bias"), row);
            Span<float> target = table.Span.Slice(t * d, d);
            System.Numerics.Tensors.TensorPrimitives.Add(target, row, target);
        }
        return table;
    }

    private HybridStem Stem()
    {
        using InitSkip _ = Init.Skip();
        var rng = new Rng(0);
        HybridStem stem = VitEmbeddings.NewStem(config, ref rng);
        foreach (var (name, value) in stem.StateDict()) source.Read(VitEmbeddings.StemPrefix + name, value.Span);
        stem.Training = false;
        return stem;
    }
}
