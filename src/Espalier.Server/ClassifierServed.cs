using System.Buffers;
using System.Diagnostics;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Reporting;

namespace Espalier.Server;

/// <summary>A network that gives classes. What is asked with one rule for tokens is computed together.</summary>
internal sealed class ClassifierServed : ServedModel
{
    private readonly Session session;
    private readonly Predictor predictor;
    private readonly Batcher<Prepared, Answered> batcher;
    private readonly float[] inputs;

    public ClassifierServed(string name, Session session, ServerSettings settings) : base(name)
    {
        session.RequireLogits();
        (this.session, predictor, Info) = (session, new Predictor(session), InfoOf(name, session));
        inputs = new float[settings.MostTogether * predictor.InputValues];
        batcher = new Batcher<Prepared, Answered>(settings.MostTogether, settings.Queue, Run, p => p.Pruning,
            p => ArrayPool<float>.Shared.Return(p.Input));
        // The first pass packs and plans; nobody should wait for that.
        predictor.Run(inputs.AsSpan(0, predictor.InputValues), 1, session.Pruning);
    }

    public override ModelInfo Info { get; }

    public override int Waiting => batcher.Waiting;

    public override Task<Task<PictureAnswer>> Predict(Image image, Question question, bool waits, CancellationToken cancel)
    {
        Pruning pruning = question.Pruning ?? session.Pruning;
        if (pruning.IsActive && session.AgentLayers.Count == 0)
            throw new Refusal(StatusCodes.Status400BadRequest, $"{Name} has no agents that drop tokens; say no threshold or keep");
        float[] input = ArrayPool<float>.Shared.Rent(predictor.InputValues);
        predictor.Prepare(image, input.AsSpan(0, predictor.InputValues));
        string? picture = question.Picture ? Gallery.DataUrl(Gallery.Fit(ImagePipeline.Seen(session.Preprocessing, image))) : null;
        return Ask(new Prepared(input, pruning), question, picture, waits, cancel);
    }

    /// <summary>Without the picture as it was sent: hundreds of megabytes may wait otherwise.</summary>
    private async Task<Task<PictureAnswer>> Ask(Prepared input, Question question, string? picture, bool waits,
        CancellationToken cancel) => Answer(await batcher.Ask(input, waits, cancel), question, picture);

    private async Task<PictureAnswer> Answer(Task<Answered> asked, Question question, string? picture)
    {
        Answered computed = await asked;
        Prediction said = computed.Prediction;
        if (!said.Probabilities.All(float.IsFinite))
            throw new Refusal(StatusCodes.Status500InternalServerError, $"{Name} gives no numbers; the model is damaged");
        IEnumerable<int> best = said.Ranking.Take(question.Top);
        return new PictureAnswer([.. best.Select(c => new ClassShare(c, said.Name(c), said.Probabilities[c]))], said.Tokens,
            said.Kept, session.MultiplyAdds(said.Tokens), computed.Milliseconds, computed.Batch, picture);
    }

    public override async ValueTask DisposeAsync()
    {
        await batcher.DisposeAsync();
        session.Dispose();
    }

    private Answered[] Run(IReadOnlyList<Prepared> batch)
    {
        int values = predictor.InputValues;
        for (int i = 0; i < batch.Count; i++) batch[i].Input.AsSpan(0, values).CopyTo(inputs.AsSpan(i * values));
        long started = Stopwatch.GetTimestamp();
        Prediction[] predictions = predictor.Run(inputs.AsSpan(0, batch.Count * values), batch.Count, batch[0].Pruning);
        double each = Count(batch.Count, started).TotalMilliseconds / batch.Count;
        return [.. predictions.Select(p => new Answered(p, each, batch.Count))];
    }

    /// <param name="Input">Rented, [C, S, S] and perhaps more.</param>
    private readonly record struct Prepared(float[] Input, Pruning Pruning);

    private sealed record Answered(Prediction Prediction, double Milliseconds, int Batch);
}
