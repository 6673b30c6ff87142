namespace Espalier.Onnx;

/// <summary>
/// Sums of products by letters: "bhid,bhjd->bhij". One or two operands; two are a product of matrices, of which axes are turned
/// and joined before and after.
/// </summary>
internal static class OnnxReadEinsum
{
    public static OnnxOperand Read(OnnxReadCall call)
    {
        string equation = string.Concat(call.Node.Text("equation", "").Where(c => !char.IsWhiteSpace(c)));
        equation = Spelled(equation, [.. Enumerable.Range(0, call.Count).Select(i => call[i].Rank)]);
        string[] sides = equation.Split("->");
        string[] terms = sides[0].Split(',');
        if (equation.Any(c => !char.IsAsciiLetter(c) && c is not (',' or '-' or '>')) || sides.Length > 2
            || terms.Length != call.Count || terms.Length > 2)
            throw new InvalidDataException($"its equation {Formats.ReadGuard.Quote(equation)} is not one of one or two operands");
        string output = sides.Length == 2 ? sides[1]
            : string.Concat(terms.SelectMany(t => t).GroupBy(c => c).Where(g => g.Count() == 1)
            .Select(g => g.Key).Order());
        for (int i = 0; i < terms.Length; i++)
            if (terms[i].Length != call[i].Rank)
                throw new InvalidDataException($"operand {i} has {call[i].Rank} axes for '{terms[i]}'");
        if (output.Distinct().Count() != output.Length || output.Any(c => !sides[0].Contains(c, StringComparison.Ordinal)))
            throw new InvalidDataException($"its result is '{output}'");
        OnnxEmitter emit = call.Emit;
        OnnxOperand[] x = [.. Enumerable.Range(0, terms.Length).Select(i => Diagonal(call, Node(emit, call[i]), ref terms[i]))];
        if (terms.Length == 1) return emit.Permute(Summed(emit, x[0], terms[0], output, out string left), Order(left, output));
        (string ta, string tb) = (terms[0], terms[1]);
        OnnxOperand a = Summed(emit, x[0], ta, tb + output, out ta),
            b = Summed(emit, x[1], tb, ta + output, out tb);
        string batch = string.Concat(ta.Where(c => tb.Contains(c, StringComparison.Ordinal)
            && output.Contains(c, StringComparison.Ordinal)));
        string inner = string.Concat(ta.Where(c => tb.Contains(c, StringComparison.Ordinal)
            && !output.Contains(c, StringComparison.Ordinal)));
        string rows = string.Concat(ta.Where(c => !tb.Contains(c, StringComparison.Ordinal)));
        string columns = string.Concat(tb.Where(c => !ta.Contains(c, StringComparison.Ordinal)));
        a = emit.Permute(a, Order(ta, batch + rows + inner));
        b = emit.Permute(b, Order(tb, batch + inner + columns));
        int lead = batch.Length;
        OnnxOperand product = emit.MatMul(Joined(emit, a, lead, rows.Length), Joined(emit, b, lead, inner.Length));
        int[] two = [.. a.Dims[..(lead + rows.Length)], .. b.Dims[(lead + inner.Length)..]];
        int[] three = [.. a.DimsOfThree[..(lead + rows.Length)], .. b.DimsOfThree[(lead + inner.Length)..]];
        return emit.Permute(emit.Reshape(product, two, three), Order(batch + rows + columns, output));
    }

    /// <summary>With letters for the axes that "..." stands for: of several operands the last ones are the same.</summary>
    private static string Spelled(string equation, int[] ranks)
    {
        if (!equation.Contains('.', StringComparison.Ordinal)) return equation;
        string free = string.Concat("zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA"
            .Where(c => !equation.Contains(c, StringComparison.Ordinal)));
        string[] sides = equation.Split("->"), terms = sides[0].Split(',');
        if (terms.Length != ranks.Length) return equation;
        int[] stands = [.. terms.Select((t, i) => t.Contains("...", StringComparison.Ordinal) ? ranks[i] - (t.Length - 3) : 0)];
        if (stands.Any(n => n < 0 || n > free.Length)) return equation;
        string Of(int count) => string.Concat(free[..count].Reverse());
        string inputs = string.Join(',', terms.Select((t, i) => t.Replace("...", Of(stands[i]), StringComparison.Ordinal)));
        if (sides.Length == 2) return inputs + "->" + sides[1].Replace("...", Of(stands.Max()), StringComparison.Ordinal);
        string once = string.Concat(sides[0].Where(char.IsAsciiLetter).GroupBy(c => c).Where(g => g.Count() == 1)
            .Select(g => g.Key).Order());
        return $"{inputs}->{Of(stands.Max())}{once}";
    }

    /// <summary>A letter that stands twice in a term means entries of the diagonal.</summary>
    private static OnnxOperand Diagonal(OnnxReadCall call, OnnxOperand x, ref string term)
    {
        string all = term, once = string.Concat(term.Distinct());
        if (once.Length == all.Length) return x;
        int[] own = x.Dims, strides = OnnxArray.Strides(own);
        int[] dims = [.. once.Select(c => own[all.IndexOf(c, StringComparison.Ordinal)])];
        if (all.Where((c, i) => own[i] != dims[once.IndexOf(c, StringComparison.Ordinal)]).Any())
            throw new InvalidDataException($"a letter of '{all}' is of two lengths in [{string.Join(",", own)}]");
        int[] steps = [.. once.Select(c => all.Select((d, i) => d == c ? strides[i] : 0).Sum())];
        int[] places = new int[OnnxArray.Count(dims)], kept = OnnxArray.Strides(dims);
        for (int i = 0; i < places.Length; i++)
            for (int a = 0; a < dims.Length; a++) places[i] += i / kept[a] % dims[a] * steps[a];
        term = once;
        return OnnxReadMoves.Picked(call, x, places, dims);
    }

    private static OnnxOperand Node(OnnxEmitter emit, OnnxOperand x) => x.IsConstant ? emit.Weight(x) : x;

    /// <summary>Without the letters that nobody else has.</summary>
    private static OnnxOperand Summed(OnnxEmitter emit, OnnxOperand x, string term, string others, out string left)
    {
        int[] gone = [.. Enumerable.Range(0, term.Length).Where(i => !others.Contains(term[i], StringComparison.Ordinal))];
        left = string.Concat(term.Where((_, i) => !gone.Contains(i)));
        return gone.Length == 0 ? x : emit.Reduce("Sum", x, gone, keep: false);
    }

    private static int[] Order(string from, string to) => [.. to.Select(c => from.IndexOf(c, StringComparison.Ordinal))];

    /// <summary>Axes behind the batch as two: the first <paramref name="count"/> of them, and the others.</summary>
    private static OnnxOperand Joined(OnnxEmitter emit, OnnxOperand x, int lead, int count)
    {
        int[] Of(int[] dims) => [.. dims[..lead], dims[lead..(lead + count)].Aggregate(1, (a, n) => a * n),
            dims[(lead + count)..].Aggregate(1, (a, n) => a * n)];
        return emit.Reshape(x, Of(x.Dims), Of(x.DimsOfThree));
    }
}
