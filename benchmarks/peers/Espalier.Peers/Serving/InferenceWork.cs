using Espalier.Inference;

namespace Espalier.Peers;

/// <summary>Inference as users run it: a session, dense or pruned, in any precision, into memory that is there already.</summary>
internal sealed class InferenceWork : IWork
{
    private readonly Session session;
    private readonly float[] images, logits;
    private readonly int batch;

    public InferenceWork(string weights, string input, int batch, int channels, int size, SessionOptions options)
    {
        session = Session.Open(weights, new OpenOptions { AnyInput = true }, options);
        this.batch = batch;
        images = InputFile.Read(input, batch, channels, size);
        logits = new float[batch * session.NumClasses];
    }

    public void Call() => session.Run(images, batch, logits);

    public float[] Output()
    {
        Call();
        return logits;
    }

    /// <summary>Tokens of the first image: those that enter block 0, then those left after each agent.</summary>
    public int[] Tokens()
    {
        var trace = new TokenTrace();
        session.Run(images, batch, logits, trace);
        return trace.Counts(0).ToArray();
    }

    public void Dispose() => session.Dispose();
}
