using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Fits one linear layer or convolution that reads removed channels.</summary>
/// <param name="readers">The nodes that read each value.</param>
/// <param name="changed">Gives the copy of a weight that stays.</param>
internal sealed class LayerRefit(DependencyGraph graph, PlannedCuts cuts, RecoverOptions options, bool sequential, TwinRun twins,
    ILookup<GraphValue, GraphNode> readers, Func<Tensor, Tensor> changed, RecoveredWeights result)
{
    /// <summary>Values that a linear layer may read for its columns to be fitted one by one.</summary>
    private const int MostColumns = 6144;

    /// <summary>Rows a value of a row that are enough; tokens of one image are alike, and so are neighbouring pixels.</summary>
    private const int RowsAValue = 24, FewestRows = 12_288;

    private readonly ILookup<Tensor, GraphNode> uses = graph.Network.Nodes
        .SelectMany(n => n.Inputs.Where(i => i.IsWeight).Select(i => (i.Tensor, n))).ToLookup(p => p.Tensor, p => p.n);

    /// <summary>Solves for the node's weight and bias, where it reads anything that goes.</summary>
    /// <param name="normed">Whether a batch norm follows that takes the mean.</param>
    /// <returns>Whether the mean of what it gives is still to be brought back, see <see cref="CorrectMean"/>.</returns>
    public bool Fit(GraphNode node, bool normed)
    {
        if (node.Operands[1] is not { IsWeight: true } weight || cuts.Of(weight.Tensor, 1) is not { Length: > 0 } gone) return false;
        Tensor w = changed(weight.Tensor);
        PlannedCuts.Zero(w, 1, gone);
        GraphValue x = node.Operands[0]!;
        if (uses[weight.Tensor].Count() > 1 || !SameRows(x))
        {
            result.NoteList.Add($"{weight.Name}: its weights were not fitted, since "
                + (SameRows(x) ? "it runs more than once" : "the smaller network has other tokens there"));
            return false;
        }
        ActivationRows rows = ActivationRows.Of(node.Op);
        int columns = weight.Shape[1], groups = Math.Max(1, rows.ChannelsOf(x.Shape) / columns);
        int[] left = [.. Enumerable.Range(0, columns).Except(gone)];
        if (options.Fit == RecoverFit.Mean) return Mean(weight, left.Length, normed);
        int width = left.Length * rows.Taps;
        if (width > (rows.Taps > 1 ? options.MostWindowValues : MostColumns))
        {
            // Of what a flattened map leaves behind, places are to a linear layer what taps are to a convolution.
            int places = node.Op is LinearOp ? Places(weight.Tensor) : rows.Taps;
            if (places <= 1 && node.Op is LinearOp) return Mean(weight, left.Length, normed);
            for (int g = 0; g < groups; g++) FitChannels(node, w, left, g, groups, node.Op is LinearOp ? places : 1);
            return !normed;
        }
        for (int g = 0; g < groups; g++) FitColumns(node, w, left, g, groups, rows, normed);
        return false;
    }

    /// <summary>Adds what the means of the result lack to the bias, in the second network's result, too.</summary>
    public void CorrectMean(GraphNode node)
    {
        if (node.Op is LinearOp { Gelu: true } || node.Operands.ElementAtOrDefault(2) is not { IsWeight: true } bias
            || uses[bias.Tensor].Count() > 1)
        {
            return;
        }
        int outputs = bias.Shape[0];
        bool last = node.Op is LinearOp;
        var (full, small) = twins.Statistics(node.Output, outputs, last);
        Tensor changedBias = changed(bias.Tensor);
        var masked = new HashSet<int>(cuts.Of(bias.Tensor, 0));
        var shift = new Tensor(new Shape(outputs));
        for (int c = 0; c < outputs; c++) shift.Span[c] = masked.Contains(c) ? 0 : (float)(full.Mean(c) - small.Mean(c));
        System.Numerics.Tensors.TensorPrimitives.Add(changedBias.Span, shift.Span, changedBias.Span);
        for (int b = 0; b < twins.Batches; b++)
        {
            Tensor y = twins[b, node.Output].Small;
            Tensor by = y.Rank == 4 && !last ? shift.View(new Shape(1, outputs, 1, 1)) : shift;
            using var scope = new Scope();
            Tensor moved = F.Add(y, by);
            moved.Rows = y.Rows;
            twins.Change(b, node.Output, moved.Keep());
        }
    }

    private bool Mean(GraphValue weight, int left, bool normed)
    {
        result.LayerList.Add(new RecoveredLayer(
            LayerName.Of(weight.Name), weight.Shape[1], left, double.PositiveInfinity, 1, 1, 1));
        return !normed;
    }

    /// <summary>All columns of one group of a layer.</summary>
    private void FitColumns(GraphNode node, Tensor w, int[] left, int group, int groups, ActivationRows rows, bool normed)
    {
        GraphValue weight = node.Operands[1]!;
        GraphValue? bias = node.Operands.ElementAtOrDefault(2);
        bool intercept = normed || (bias is { IsWeight: true } && uses[bias.Tensor].Count() == 1);
        int columns = weight.Shape[1], perGroup = weight.Shape[0] / groups, taps = rows.Taps;
        int[] outputs = [.. Enumerable.Range(group * perGroup, perGroup).Except(cuts.Of(weight.Tensor, 0))];
        if (outputs.Length == 0) return;
        int[] inputs = [.. left.Select(c => group * columns + c)];
        double[] before = Pick(weight.Tensor, outputs, left, taps);
        var halves = new Moments[Math.Min(2, twins.Batches)];
        for (int i = 0; i < halves.Length; i++) halves[i] = new Moments(left.Length * taps, outputs.Length);
        Collect(halves, node, rows, inputs, outputs, ofInput: false);
        Refit fit = Refit.Of(halves[0], halves.ElementAtOrDefault(1), before, intercept, options.Alpha);
        Put(fit.Weight, w, outputs, left, taps);
        if (intercept && !normed)
        {
            Moments all = halves.Length == 1 ? halves[0] : Moments.Merged(halves[0], halves[1]);
            Tensor b = changed(bias!.Tensor);
            for (int i = 0; i < outputs.Length; i++)
            {
                double mean = all.TargetMean[i];
                for (int j = 0; j < all.Width; j++) mean -= fit.Weight[i * all.Width + j] * all.Mean[j];
                b.Span[outputs[i]] = (float)mean;
            }
        }
        if (group > 0) return;
        double variance = Variance(halves);
        result.LayerList.Add(new RecoveredLayer(LayerName.Of(weight.Name), columns, left.Length, fit.Alpha, fit.Before / variance,
            fit.After / variance, Largest(fit.Weight) / Math.Max(1e-30, Largest(before))));
    }

    /// <summary>
    /// Channel by channel, the same for all taps: each channel is fitted by those that are left, without an intercept, since zero
    /// padding is zero of all of them.
    /// </summary>
    private void FitChannels(GraphNode node, Tensor w, int[] left, int group, int groups, int places)
    {
        GraphValue weight = node.Operands[1]!;
        int columns = weight.Shape[1] / places, perGroup = weight.Shape[0] / groups;
        int taps = (int)(weight.Tensor.Length / ((long)weight.Shape[0] * columns));
        int[] kept = [.. left.Where(c => c % places == 0).Select(c => c / places)];
        int[] inputs = [.. kept.Select(c => group * columns + c)], all = [.. Enumerable.Range(group * columns, columns)];
        var halves = new Moments[Math.Min(2, twins.Batches)];
        for (int i = 0; i < halves.Length; i++) halves[i] = new Moments(kept.Length, columns);
        Collect(halves, node, ActivationRows.Channels, inputs, all, ofInput: true, places);
        var as1 = new double[columns * kept.Length];
        for (int k = 0; k < kept.Length; k++) as1[kept[k] * kept.Length + k] = 1;
        Refit fit = Refit.Of(halves[0], halves.ElementAtOrDefault(1), as1, intercept: false, options.Alpha);
        int[] outputs = [.. Enumerable.Range(group * perGroup, perGroup).Except(cuts.Of(weight.Tensor, 0))];
        double[] old = Pick(weight.Tensor, outputs, [.. Enumerable.Range(0, columns)], taps);
        var solved = new double[outputs.Length * kept.Length * taps];
        for (int o = 0; o < outputs.Length; o++)
        {
            for (int c = 0; c < columns; c++)
            {
                for (int k = 0; k < kept.Length; k++)
                {
                    double share = fit.Weight[c * kept.Length + k];
                    if (share == 0) continue;
                    for (int t = 0; t < taps; t++)
                        solved[(o * kept.Length + k) * taps + t] += share * old[(o * columns + c) * taps + t];
                }
            }
        }
        Put(solved, w, outputs, kept, taps);
        if (group > 0) return;
        double variance = Variance(halves, centred: false);
        result.LayerList.Add(new RecoveredLayer(LayerName.Of(weight.Name), columns, kept.Length, fit.Alpha, fit.Before / variance,
            fit.After / variance, Largest(solved) / Math.Max(1e-30, Largest(old))));
    }

    /// <summary>What the layer's product gave in the whole network, before anything is added to it. Where its result is added to a
    /// stream, it takes along what the stream has lost so far: the sum is what counts (He et al., arXiv 1707.06168, section 3.3).
    /// </summary>
    private Tensor Target(GraphNode node, int batch)
    {
        if (node.Op is LinearOp { Gelu: true } or LinearOp { Residual: not null })
            return F.Linear(twins[batch, node.Operands[0]!].Full, node.Operands[1]!.Tensor, node.Operands[2]?.Tensor);
        Tensor y = twins[batch, node.Output].Full;
        if (!sequential || StreamOf(node) is not { } stream) return y;
        var (full, small) = twins[batch, stream];
        Tensor target = F.Add(y, F.Sub(full, small));
        target.Rows = y.Rows;
        return target;
    }

    /// <summary>What a layer's result is added to, where that is there already.</summary>
    private GraphValue? StreamOf(GraphNode node)
    {
        GraphValue value = node.Output;
        // Dropout, as transformers have it there, passes everything on in inference.
        while (readers[value].Take(2).ToArray() is [{ Op: DropoutOp } dropout]) value = dropout.Output;
        if (readers[value].Take(2).ToArray() is not [{ Op: AddOp } sum]) return null;
        GraphValue? other = sum.Operands.FirstOrDefault(o => o != value);
        return other is { IsWeight: false } && other.Shape == node.Output.Shape && twins.Differs(other) ? other : null;
    }

    /// <param name="ofInput">Whether what is to be given is the layer's own input.</param>
    private void Collect(Moments[] halves, GraphNode node, ActivationRows rows, int[] inputs, int[] outputs, bool ofInput, int places = 1)
    {
        GraphValue x = node.Operands[0]!;
        long count = 0;
        for (int b = 0; b < twins.Batches; b++) count += rows.Count(Mapped(twins[b, x].Full, places));
        Tensor first = twins[0, x].Full;
        // Packed rows: the first axis is tokens and not images.
        int perImage = first.Rows is { } set ? set.Length(0) : (int)rows.Count(Mapped(first, places)) / first.Shape[0];
        int step = Step(count, halves[0].Width, Math.Max(1, perImage));
        for (int b = 0; b < twins.Batches; b++)
        {
            using var scope = new Scope();
            Tensor read = sequential ? twins[b, x].Small : twins[b, x].Full, given = ofInput ? twins[b, x].Full : Target(node, b);
            if (places > 1) read = read.View(Mapped(read, places));
            if (places > 1 && ofInput) given = given.View(Mapped(given, places));
            halves[b % halves.Length].Add(rows.Take(read, inputs, step), rows.WithoutWindows.Take(given, outputs, step));
        }
    }

    /// <summary>Every how manieth row is enough; it has no factor in common with the rows of an image, so that all places of a map
    /// are seen.</summary>
    private static int Step(long rows, int width, int rowsPerImage)
    {
        int step = (int)Math.Max(1, rows / Math.Max(FewestRows, (long)RowsAValue * width));
        while (step > 1 && System.Numerics.BigInteger.GreatestCommonDivisor(step, rowsPerImage) > 1) step++;
        return step;
    }

    private static Shape Mapped(Tensor x, int places) => places == 1 ? x.Shape : new Shape(x.Shape[0], x.Shape[1] / places, places, 1);

    private bool SameRows(GraphValue x) => Enumerable.Range(0, twins.Batches).All(b => Equals(twins[b, x].Full.Rows, twins[b, x].Small.Rows));

    /// <summary>Neighbouring columns of a weight that go together, of every channel that may go; 1 where that differs.</summary>
    private int Places(Tensor weight)
    {
        int[][] entries = [.. graph.Groups.SelectMany(g => g.Slices).Where(s => s.Tensor == weight && s.Axis == 1).SelectMany(s => s.Entries)];
        int places = entries.Length == 0 ? 1 : entries[0].Length;
        return entries.All(e => e.Length == places && e[0] % places == 0 && e[^1] == e[0] + places - 1) && weight.Shape[1] % places == 0
            ? places : 1;
    }

    private static double[] Pick(Tensor weight, int[] outputs, int[] columns, int taps)
    {
        var picked = new double[(long)outputs.Length * columns.Length * taps];
        long at = 0, width = weight.Length / weight.Shape[0];
        foreach (int o in outputs)
            foreach (int c in columns)
                for (int t = 0; t < taps; t++) picked[at++] = weight.Span[(int)(o * width) + c * taps + t];
        return picked;
    }

    private static void Put(double[] values, Tensor weight, int[] outputs, int[] columns, int taps)
    {
        long at = 0, width = weight.Length / weight.Shape[0];
        foreach (int o in outputs)
            foreach (int c in columns)
                for (int t = 0; t < taps; t++) weight.Span[(int)(o * width) + c * taps + t] = (float)values[at++];
    }

    private static double Variance(Moments[] halves, bool centred = true)
    {
        Moments all = halves.Length == 1 ? halves[0] : Moments.Merged(halves[0], halves[1]);
        double variance = all.TargetVariance().Sum();
        if (!centred) foreach (double mean in all.TargetMean) variance += mean * mean;
        return Math.Max(1e-30, variance);
    }

    private static double Largest(double[] values) => values.Length == 0 ? 0 : values.Max(Math.Abs);
}
