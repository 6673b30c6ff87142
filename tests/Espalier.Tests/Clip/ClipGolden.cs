using System.Text.Json;
using Espalier.Formats;
using Espalier.Tensors;

namespace Espalier.Tests.Clip;

/// <summary>The small CLIP of tests/goldens/make_clip.py, whose weights, images and ids are said by formulas, in files of all
/// layouts.</summary>
internal static class ClipGolden
{
    public const int Vocabulary = 600, Context = 12;

    public static JsonElement Root { get; } = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", "Clip", "clip.json"))).RootElement;

    public static float[] Numbers(string key) => [.. Root.GetProperty(key).EnumerateArray().Select(x => x.GetSingle())];

    /// <summary>[3, 12].</summary>
    public static float[] Ids() => [.. Root.GetProperty("ids").EnumerateArray().SelectMany(r => r.EnumerateArray()).Select(x =>
        x.GetSingle())];

    /// <summary>[2, 3, size, size].</summary>
    public static Tensor Images(int size)
    {
        var images = new Tensor(new Shape(2, 3, size, size));
        for (int i = 0; i < images.Length; i++) images.Span[i] = (float)Math.Sin(0.013 * i * i + 0.5 * i);
        return images;
    }

    /// <summary>The tensors of "vit", "resnet" or "text".</summary>
    public static List<NamedArray> Weights(string part)
    {
        var all = new List<NamedArray>();
        foreach (JsonProperty entry in Root.GetProperty(part).EnumerateObject())
        {
            int t = all.Count;
            int[] shape = [.. entry.Value.EnumerateArray().Select(n => n.GetInt32())];
            long count = shape.Aggregate(1L, (a, b) => a * b);
            double a = shape.Length > 1 ? 1.5 / Math.Sqrt(count / shape[0]) : 0.3;
            if (shape.Length == 4 && shape[1] == 3) a *= 8;
            bool one = entry.Name.EndsWith("running_var", StringComparison.Ordinal)
                || (entry.Name.EndsWith("weight", StringComparison.Ordinal) && shape.Length == 1);
            var values = new float[count];
            for (int i = 0; i < values.Length; i++) values[i] = (float)(a * Math.Sin(0.7 * i * (1 + 0.01 * t) + t)
                + (one ? 1 : 0));
            all.Add(new NamedArray(entry.Name, shape, values));
        }
        return all;
    }

    /// <summary>Both towers, with the scale and what files have beside them.</summary>
    public static List<NamedArray> Whole(string images = "vit") =>
    [
        .. Weights(images), .. Weights("text"), new NamedArray("logit_scale", [], [Root.GetProperty("scale").GetSingle()]),
        new NamedArray("input_resolution", [], [32]), new NamedArray("context_length", [], [12]),
    ];

    public static void Write(string path, IEnumerable<NamedArray> arrays, ElementType type = ElementType.F32) =>
        Safetensors.Write(path, arrays.Select(a => type == ElementType.F32
            ? SafetensorsEntry.FromFloats(a.Name, a.Shape, a.Data)
            : new SafetensorsEntry(a.Name, ElementType.F16, a.Shape, Halves(a.Data))), new Dictionary<string, string>());

    /// <summary>The same under the names of Hugging Face's transformers.</summary>
    public static List<NamedArray> HuggingFace(IEnumerable<NamedArray> arrays)
    {
        var all = new List<NamedArray>();
        foreach (NamedArray a in arrays)
        {
            string tower = a.Name.StartsWith("visual.", StringComparison.Ordinal) ? "vision_model" : "text_model";
            string name = a.Name.Replace("visual.", "", StringComparison.Ordinal);
            if (name.Contains(".attn.in_proj_", StringComparison.Ordinal))
            {
                string leaf = name[(name.LastIndexOf('_') + 1)..],
                    layer = Layer(name[..name.IndexOf(".attn", StringComparison.Ordinal)]);
                int part = a.Data.Length / 3;
                for (int i = 0; i < 3; i++)
                    all.Add(new NamedArray($"{tower}.{layer}.self_attn.{"qkv"[i]}_proj.{leaf}", [a.Shape[0] / 3, .. a.Shape[1..]],
                        a.Data[(i * part)..((i + 1) * part)]));
                continue;
            }
            if (name is "proj" or "text_projection")
            {
                var turned = new float[a.Data.Length];
                for (int i = 0; i < turned.Length; i++) turned[i % a.Shape[1] * a.Shape[0] + i / a.Shape[1]] = a.Data[i];
                all.Add(new NamedArray(name == "proj" ? "visual_projection.weight" : "text_projection.weight",
                    [a.Shape[1], a.Shape[0]], turned));
                continue;
            }
            if (name is "input_resolution" or "context_length") continue;
            string renamed = name switch
            {
                "logit_scale" => name,
                "class_embedding" => "vision_model.embeddings.class_embedding",
                "positional_embedding" => $"{tower}.embeddings.position_embedding.weight",
                "conv1.weight" => "vision_model.embeddings.patch_embedding.weight",
                "token_embedding.weight" => "text_model.embeddings.token_embedding.weight",
                _ when name.StartsWith("ln_pre", StringComparison.Ordinal) => "vision_model.pre_layrnorm" + name[6..],
                _ when name.StartsWith("ln_post", StringComparison.Ordinal) => "vision_model.post_layernorm" + name[7..],
                _ when name.StartsWith("ln_final", StringComparison.Ordinal) => "text_model.final_layer_norm" + name[8..],
                _ => $"{tower}." + Layer(name).Replace(".attn.", ".self_attn.", StringComparison.Ordinal)
                    .Replace("ln_1", "layer_norm1", StringComparison.Ordinal).Replace("ln_2", "layer_norm2",
                        StringComparison.Ordinal)
                    .Replace("mlp.c_fc", "mlp.fc1", StringComparison.Ordinal).Replace("mlp.c_proj", "mlp.fc2",
                        StringComparison.Ordinal),
            };
            all.Add(new NamedArray(renamed, a.Shape, a.Data));
        }
        all.Add(new NamedArray("text_model.embeddings.position_ids", [1, 12], new float[12]));
        return all;

        static string Layer(string name) => name.Replace("transformer.resblocks.", "encoder.layers.", StringComparison.Ordinal);
    }

    /// <summary>A vocabulary of <see cref="Vocabulary"/> ids: two letters of a few become one symbol, at the end of a word
    /// too.</summary>
    public static string[] Merges()
    {
        var merges = new List<string> { "#version" };
        foreach (char a in "acdeghnopt")
            foreach (char b in "acdeghnopt") merges.Add($"{a} {b}{(merges.Count % 2 == 0 ? "</w>" : "")}");
        return [.. merges];
    }

    private static byte[] Halves(float[] values)
    {
        var bytes = new byte[values.Length * 2];
        for (int i = 0; i < values.Length; i++) BitConverter.GetBytes((Half)values[i]).CopyTo(bytes, 2 * i);
        return bytes;
    }
}
