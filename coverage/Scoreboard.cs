using Espalier.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Coverage;

/// <summary>
/// ONNX's own test cases (Debian's libonnx-testdata): a model of a node or a few, inputs and outputs. Cases whose operators this
/// library means to read are read with their own lengths, run and compared: equal shape and type, rtol 1e-3, atol 1e-7.
/// </summary>
internal static class Scoreboard
{
    private static readonly HashSet<string> Listed =
    [
        .. ("Conv ConvTranspose Gemm MatMul Einsum BatchNormalization LayerNormalization GroupNormalization "
            + "InstanceNormalization RMSNormalization LRN LpNormalization Relu LeakyRelu PRelu Elu Selu Sigmoid Tanh "
            + "Softplus Softmax LogSoftmax Clip HardSigmoid HardSwish Mish Gelu Swish Erf Add Sub Mul Div Pow Sqrt Exp Log "
            + "Neg Abs Reciprocal Floor Ceil Sin Cos Mod Max Min Sum Equal Less Greater And Or Not Where MaxPool "
            + "AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL2 "
            + "ArgMax TopK Reshape Transpose Flatten Squeeze Unsqueeze Concat Split Slice Gather GatherElements GatherND "
            + "ScatterND Expand Tile Pad Resize Upsample DepthToSpace SpaceToDepth GridSample Shape Size Constant "
            + "ConstantOfShape Range Cast CastLike Identity Dropout CumSum Trilu QuantizeLinear DequantizeLinear "
            + "DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger Attention RotaryEmbedding").Split(' '),
    ];

    /// <param name="Refusal">Why it is refused, or what is wrong; null where it passes.</param>
    internal sealed record Case(string Set, string Name, IReadOnlyList<string> Operators, string? Refusal, bool IsWrong);

    /// <summary>Every case, and what came of it where its operators are listed.</summary>
    public static List<Case?> Cases(string data)
    {
        string[] sets = ["node", "pytorch-converted", "pytorch-operator", "simple"];
        return [.. sets.SelectMany(set => Directory.GetDirectories(Path.Combine(data, set)).Order(StringComparer.Ordinal)
            .Select(folder => Try(set, folder)))];
    }

    public static int Run(string data, string page)
    {
        List<Case?> all = Cases(data);
        List<Case> cases = [.. all.OfType<Case>()];
        int others = all.Count - cases.Count;
        Page.Write(page, "scoreboard", Table(cases, others));
        Case[] wrong = [.. cases.Where(c => c.IsWrong)];
        foreach (Case c in wrong) Console.WriteLine($"WRONG {c.Set}/{c.Name}: {c.Refusal}");
        Console.WriteLine($"{cases.Count(c => c.Refusal is null)} of {cases.Count} pass, {wrong.Length} are wrong, "
            + $"{others} are of other operators");
        return wrong.Length == 0 ? 0 : 1;
    }

    private static IEnumerable<string> Table(List<Case> cases, int others)
    {
        yield return "| cases | of listed operators | pass | refused | wrong |";
        yield return "| --- | --- | --- | --- | --- |";
        foreach (var set in cases.GroupBy(c => c.Set))
        {
            int passed = set.Count(c => c.Refusal is null), wrong = set.Count(c => c.IsWrong);
            yield return $"| {set.Key} | {set.Count()} | {passed} ({100.0 * passed / set.Count():0.0} %) | "
                + $"{set.Count() - passed - wrong} | {wrong} |";
        }
        yield return "";
        yield return $"{others} more cases are of operators that are not listed. What is refused, and why:";
        yield return "";
        yield return "| cases | reason |";
        yield return "| --- | --- |";
        foreach (var reason in cases.Where(c => c.Refusal is not null).GroupBy(c => c.Refusal)
            .OrderByDescending(r => r.Count()).ThenBy(r => r.Key, StringComparer.Ordinal))
        {
            string names = string.Join(", ", reason.Select(c => c.Name["test_".Length..]));
            yield return $"| {names} | {reason.Key!.Replace('|', '/')} |";
        }
    }

    /// <summary>Null where an operator is not listed.</summary>
    private static Case? Try(string set, string folder)
    {
        string name = Path.GetFileName(folder);
        byte[] file = File.ReadAllBytes(Path.Combine(folder, "model.onnx"));
        string[] operators;
        OnnxSource source;
        try
        {
            source = OnnxSourceReader.Read(ProtoSource.Of(file));
            operators = [.. source.Nodes.Select(n => n.Operator).Distinct()];
        }
        catch (InvalidDataException)
        {
            return null;
        }
        if (!operators.All(Listed.Contains)) return null;
        string? reason = null;
        try
        {
            string tests = Path.Combine(folder, "test_data_set_0");
            OnnxSourceValue[] inputs = [.. source.Inputs.Where(i => !source.Initialisers.ContainsKey(i.Name))];
            OnnxSourceTensor[] given = [.. inputs.Select((_, i) => Tensor(Path.Combine(tests, $"input_{i}.pb")))];
            OnnxSourceTensor[] wanted = [.. source.Outputs.Select((_, i) => Tensor(Path.Combine(tests, $"output_{i}.pb")))];
            // numpy has no bfloat16: its patterns are kept as whole numbers.
            foreach (var (tensor, type) in given.Zip(inputs.Select(v => v.Type))
                .Concat(wanted.Zip(source.Outputs.Select(v => v.Type))))
                if (type == (int)OnnxType.BFloat16 && tensor.Type == OnnxType.UInt16) tensor.Type = OnnxType.BFloat16;
            if (given.Any(t => t is { IsFloat: true, Raw: var raw } && Enumerable.Range(0, (int)t.Count).Any(i =>
                Math.Abs(t.At(i, raw)) is > float.MaxValue and < double.PositiveInfinity)))
                throw new InvalidDataException("its numbers are beyond float32");
            // Whole numbers mostly say shapes and places, and are known when a network is read; else all but the first operand
            // are.
            Func<int, bool>[] choices = [i => !given[i].IsFloat, i => i > 0 || !given[i].IsFloat, _ => true];
            foreach (Func<int, bool> known in choices)
            {
                try
                {
                    return Compare(file, inputs, given, wanted, known) is { } wrong
                        ? new Case(set, name, operators, wrong, IsWrong: true) : new Case(set, name, operators, null, false);
                }
                catch (Exception e) when (e is InvalidDataException or EspalierException or ArgumentException)
                {
                    reason ??= e.Message;
                }
            }
        }
        catch (Exception e) when (e is InvalidDataException or FileNotFoundException or EndOfStreamException)
        {
            reason = e.Message.StartsWith("its", StringComparison.Ordinal) ? e.Message
                : "its inputs or outputs are no tensors of numbers";
        }
        return new Case(set, name, operators, Short(reason!), IsWrong: false);
    }

    /// <summary>Null where all is equal.</summary>
    private static string? Compare(byte[] file, OnnxSourceValue[] inputs, OnnxSourceTensor[] given, OnnxSourceTensor[] wanted,
        Func<int, bool> known)
    {
        var constants = new Dictionary<string, OnnxSourceTensor>();
        for (int i = 0; i < inputs.Length; i++) if (known(i)) constants[inputs[i].Name] = given[i];
        var (graph, _, types) = OnnxImport.Read(file, null, new OnnxReadOptions { OpenBatch = false, Known = constants });
        using var scope = new Scope();
        List<Tensor> fed = [];
        for (int i = 0; i < inputs.Length; i++)
        {
            if (known(i)) continue;
            var x = new Tensor(new Shape(given[i].Shape));
            given[i].Read(x.Span);
            fed.Add(x);
        }
        if (fed.Count == 0) fed.Add(Espalier.Tensors.Tensor.Zeros(new Shape(1)));
        Tensor[] results = graph.Run(fed);
        for (int i = 0; i < wanted.Length; i++)
        {
            if (types[i] != wanted[i].Type) return $"output {i} is {types[i]}, not {wanted[i].Type}";
            if (!results[i].Shape.ToArray().AsSpan().SequenceEqual(wanted[i].Shape))
                return $"output {i} is {results[i].Shape}, not [{string.Join(",", wanted[i].Shape)}]";
            byte[] raw = wanted[i].Raw;
            for (int k = 0; k < results[i].Length; k++)
            {
                double expected = wanted[i].At(k, raw), actual = results[i].Span[k];
                // What is stored in eight bits of fraction is computed in more.
                double share = wanted[i].Type == OnnxType.BFloat16 ? 8e-3 : 1e-3;
                bool same = expected.Equals(actual) || Math.Abs(expected - actual) <= 1e-7 + share * Math.Abs(expected);
                if (!same) return $"output {i} has {actual} for {expected} at {k}";
            }
        }
        return null;
    }

    private static OnnxSourceTensor Tensor(string path) => OnnxSourceReader.ReadTensor(File.ReadAllBytes(path));

    /// <summary>Without the node's name, so that equal reasons are one line.</summary>
    private static string Short(string reason)
    {
        int operators = reason.IndexOf("' (", StringComparison.Ordinal);
        return operators < 0 ? reason : reason[(operators + 2)..];
    }
}
