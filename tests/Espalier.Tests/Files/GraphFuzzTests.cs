using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Files;

/// <summary>
/// Thousands of damaged graphs: each is refused in one line or, where the damage left a graph, runs. <c>ESPALIER_FUZZ=100000</c>
/// asks for more of them.
/// </summary>
public class GraphFuzzTests
{
    /// <summary>Managed bytes that reading one mutant may take.</summary>
    private const long MostBytes = 1L << 27;

    private static readonly int[] Extents = [0, 1, 2, 3, 5, 7, 64, 1000, 16777216, 2147483647];

    private static readonly string[] Numbers =
    [
        .. Extents.Select(n => n.ToString(CultureInfo.InvariantCulture)), "-1", "-2147483648", "2147483648",
            "9223372036854775807",
        "1e30", "-1e30", "1e999", "0.5", "-0.0", "1e-45", "null", "true", "\"x\"", "[]", "{}", "[1,2]",
    ];

    [Fact]
    public void MutantsEndInOneLineOrRun()
    {
        string? asked = Environment.GetEnvironmentVariable("ESPALIER_FUZZ");
        int count = asked is null ? 2000 : int.Parse(asked, CultureInfo.InvariantCulture);
        using var net = new FileNetwork();
        CnnConfig config = CnnPresets.Get("shufflenet_v2_x1_0") with { NumClasses = 3, Width = 0.25, ImageSize = 32 };
        using Cnn cnn = CnnPresets.Create(config);
        cnn.Training = false;
        Graph[] graphs = [net.Graph, net.Graph, Graph.Trace(cnn.Forward, new Shape(2, 3, 32, 32), cnn.StateDict())];
        string[] texts = [.. graphs.Select(FileNetwork.ToJson)];
        int refused = 0, ran = 0;
        for (int i = 0; i < count; i++)
        {
            var rng = new Rng(5, (ulong)i);
            Graph graph = graphs[i % graphs.Length];
            Dictionary<string, int[]> shapes = graph.Weights.ToDictionary(w => w.Key, w => w.Value.Shape.ToArray());
            string json = Mutant(texts[i % graphs.Length], shapes, ref rng);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                Graph read = FileNetwork.Read(json, shapes, name => Values(graph, name, shapes[name]));
                if (Runs(read, ref rng)) ran++;
            }
            catch (EspalierException e)
            {
                Assert.DoesNotContain('\n', e.Message);
                refused++;
            }
            long taken = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(taken < MostBytes, $"mutant {i} took {taken} bytes: {json[..Math.Min(json.Length, 2000)]}");
        }
        Assert.True(refused > count / 2 && ran > count / 50, $"{refused} refused, {ran} ran");
    }

    /// <summary>What still is a graph gives something or says that it does not fit, whatever the numbers; nothing else.</summary>
    private static bool Runs(Graph graph, ref Rng rng)
    {
        long values = graph.Nodes.Sum(n => n.Output.Shape.Length) + graph.Weights.Values.Sum(w => w.Shape.Length)
            + graph.Inputs.Sum(i => i.Shape.Length);
        if (values > 1 << 20 || graph.CostPerImage.MultiplyAdds > 1 << 24) return false;
        using var scope = new Scope();
        foreach (GraphValue weight in graph.Weights.Values)
        {
            if (!weight.Tensor.IsMeta) continue;
            var real = new Tensor(weight.Shape);
            Init.Normal(real, 1, ref rng);
            weight.Tensor.Exchange(real);
        }
        Tensor[] inputs = [.. graph.Inputs.Select(i => new Tensor(i.Shape.With(0, 1)))];
        foreach (Tensor input in inputs) Init.Normal(input, 1, ref rng);
        try
        {
            graph.Run(inputs);
            return true;
        }
        catch (ArgumentException)
        {
            // Dropped rows may leave too few for what follows.
            return false;
        }
        finally
        {
            foreach (GraphValue weight in graph.Weights.Values) weight.Tensor.Dispose();
        }
    }

    private static float[] Values(Graph graph, string name, int[] shape)
    {
        float[] values = graph.Weights[name].Tensor.ToArray();
        Array.Resize(ref values, checked((int)new Shape(shape).Length));
        return values;
    }

    private static string Mutant(string text, Dictionary<string, int[]> shapes, ref Rng rng)
    {
        if (Below(4, ref rng) == 0) return Bytes(text, ref rng);
        JsonNode graph = JsonNode.Parse(text)!;
        for (int changes = 1 + Below(2, ref rng); changes > 0; changes--) Change(graph, shapes, ref rng);
        return graph.ToJsonString();
    }

    private static void Change(JsonNode graph, Dictionary<string, int[]> shapes, ref Rng rng)
    {
        JsonArray nodes = graph["nodes"]!.AsArray();
        JsonObject node = nodes[Below(nodes.Count, ref rng)]!.AsObject();
        JsonArray operands = node["operands"]!.AsArray();
        string[] names = [.. nodes.Select(n => n!["name"]!.GetValue<string>()), .. shapes.Keys, "images", "none"];
        string name = names[Below(names.Length, ref rng)];
        switch (Below(14, ref rng))
        {
            // Cycles, references forward, weights in the place of images, operands that are left out or too many.
            case 0 or 1 or 2 when operands.Count > 0: operands[Below(operands.Count, ref rng)] = name; break;
            case 3: operands.Add(Below(2, ref rng) == 0 ? null : name); break;
            case 4 when operands.Count > 0: operands.RemoveAt(Below(operands.Count, ref rng)); break;
            case 5: node["op"] = OpTable.Names.Append(name).ElementAt(Below(OpTable.Names.Count + 1, ref rng)); break;
            case 6: node["name"] = name; break;
            case 7: nodes.RemoveAt(Below(nodes.Count, ref rng)); break;
            case 8:
                JsonNode moved = node.DeepClone();
                if (Below(2, ref rng) == 0) nodes.Remove(node);
                nodes.Insert(Below(nodes.Count, ref rng), moved);
                break;
            case 9:
                string[] weights = [.. shapes.Keys];
                int[] shape = shapes[weights[Below(weights.Length, ref rng)]];
                if (shape.Length > 0) shape[Below(shape.Length, ref rng)] = Extents[Below(Extents.Length, ref rng)];
                break;
            case 10: graph["inputs"]![0]!["shape"]![Below(3, ref rng)] = Number(ref rng); break;
            case 11: graph["outputs"]![0] = name; break;
            default: Setting(node, ref rng); break;
        }
    }

    /// <summary>Another value, a setting more or one less; or those of a random op that does not have them.</summary>
    private static void Setting(JsonObject node, ref Rng rng)
    {
        if (node["settings"] is not JsonObject settings) node["settings"] = settings = [];
        string[] names = [.. settings.Select(s => s.Key), "axis"];
        string name = names[Below(names.Length, ref rng)];
        switch (Below(5, ref rng))
        {
            case 0: settings.Remove(name); break;
            case 1 when settings[name] is JsonArray { Count: > 0 } list:
                list[Below(list.Count, ref rng)] = Number(ref rng);
                break;
            case 2: settings[name] = 1 + Below(4, ref rng); break;
            default: settings[name] = Number(ref rng); break;
        }
    }

    /// <summary>Bits that are flipped, a part that is cut out, doubled, or repeated very often.</summary>
    private static string Bytes(string text, ref Rng rng)
    {
        int at = Below(text.Length, ref rng), length = Math.Min(Below(40, ref rng) + 1, text.Length - at);
        switch (Below(4, ref rng))
        {
            case 0: return text.Remove(at, length);
            case 1: return text.Insert(at, string.Concat(Enumerable.Repeat(text.Substring(at, length), Below(300, ref rng))));
            case 2: return text[..at];
            default:
                byte[] bytes = Encoding.UTF8.GetBytes(text);
                for (int flips = 1 + Below(3, ref rng); flips > 0; flips--)
                    bytes[Below(bytes.Length, ref rng)] ^= (byte)(1 << Below(7, ref rng));
                return Encoding.UTF8.GetString(bytes);
        }
    }

    private static JsonNode? Number(ref Rng rng) => JsonNode.Parse(Numbers[Below(Numbers.Length, ref rng)]);

    private static int Below(int end, ref Rng rng) => rng.NextInt(end);
}
