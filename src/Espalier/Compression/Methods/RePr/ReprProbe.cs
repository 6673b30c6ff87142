using System.Globalization;
using Espalier.Training;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.RePr;

/// <summary>What <see cref="RePr"/> adds to <see cref="CompressionJob.Findings"/>, before each drop but the first and at the end.
/// </summary>
public static class ReprFindings
{
    /// <summary>The mean norm of the restored filters' gradients over that of the others.</summary>
    public const string Gradients = "repr/gradients";

    /// <summary>The loss of the ranking images.</summary>
    public const string Loss = "repr/loss";

    /// <summary>The same without the filters that came back last.</summary>
    public const string LossWithoutRestored = "repr/loss-without-restored";
}

/// <summary>
/// Watches whether filters that came back learn anything: how large their gradients are beside those of the filters that stayed,
/// and what the loss is without them.
/// </summary>
internal sealed class ReprProbe(CompressionJob job)
{
    /// <summary>Layers that a line names.</summary>
    private const int MostNamed = 4;

    private DroppedFilters? restored;
    private double ratios;
    private long count;

    /// <summary>Begins anew with filters that have just come back.</summary>
    public void Watch(DroppedFilters filters) => (restored, ratios, count) = (filters, 0, 0);

    /// <summary>Goes on with what <see cref="Save"/> kept.</summary>
    public void Watch(DroppedFilters filters, StateReader state) =>
        (restored, ratios, count) =
            (filters, state.ReadDoubles("ratios").FirstOrDefault(), state.ReadLongs("count").FirstOrDefault());

    /// <summary>Keeps what was seen so far.</summary>
    public void Save(StateWriter state)
    {
        state.Add("ratios", ratios);
        state.Add("count", count);
    }

    /// <summary>The mean norm of the restored filters' gradients over that of the others, layer by layer.</summary>
    public void LookAtGradients()
    {
        foreach (var (weight, rows) in restored?.Weights ?? [])
        {
            if (weight.Grad is not { } grad) continue;
            double back = 0, stayed = 0;
            for (int row = 0; row < weight.Shape[0]; row++)
            {
                float norm = TensorPrimitives.Norm<float>(FilterWeights.Row(grad, row));
                if (rows.Contains(row)) back += norm;
                else stayed += norm;
            }
            if (!(stayed > 0)) continue;
            ratios += back / rows.Count / (stayed / (weight.Shape[0] - rows.Count));
            count++;
        }
    }

    /// <summary>Says what was seen since the last restore, and what the loss is without filters that are about to go.</summary>
    /// <param name="step">Steps that have been done.</param>
    /// <param name="going">Null where none go.</param>
    public void Report(long step, IReadOnlyList<(ChannelGroup Group, int[] Channels)>? going)
    {
        if (restored is null && going is null) return;
        var text = new List<string>();
        if (going is not null) text.Add(Dropped(going));
        if (count > 0)
        {
            job.Find(ReprFindings.Gradients, ratios / count);
            text.Add(Text($"gradients of restored filters {ratios / count:0.00} of the others'"));
        }
        if (job.Options.RankBatches > 0)
        {
            double whole = Loss([]);
            string loss = Text($"loss {whole:0.0000}");
            if (going is not null) loss += Text($", {Loss(going):0.0000} without these");
            if (restored is not null)
            {
                double without = Loss(restored.Channels);
                job.Find(ReprFindings.Loss, whole);
                job.Find(ReprFindings.LossWithoutRestored, without);
                loss += Text($", {without:0.0000} without those of the drop before");
            }
            text.Add(loss);
        }
        job.Log($"step {step}: {string.Join("; ", text)}");
        restored = null;
    }

    private static string Dropped(IReadOnlyList<(ChannelGroup Group, int[] Channels)> going)
    {
        if (going.Count == 0) return "dropped nothing, as all filters overlap alike";
        IEnumerable<string> most = going.OrderByDescending(g => (double)g.Channels.Length / g.Group.Count).Take(MostNamed)
            .Select(g => $"{g.Channels.Length} of {g.Group.Count} in {g.Group.Name}");
        return $"dropped {going.Sum(g => g.Channels.Length)} filters: {string.Join(", ", most)}"
            + (going.Count > MostNamed ? $" and others of {going.Count - MostNamed} layers" : "");
    }

    /// <summary>The mean cross-entropy over the ranking batches with some channels masked.</summary>
    private double Loss(IReadOnlyList<(ChannelGroup Group, int[] Channels)> masked)
    {
        using var mask = new MaskedModel(masked, MaskKind.Zero);
        return job.RankingLoss()[0];
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
