using Espalier.Inference;

namespace Espalier.Peers;

/// <summary>Inference with a convolutional network, whole or pruned, as users run it.</summary>
internal sealed class CnnWork : IWork
{
    private readonly Session session;
    private readonly float[] images, logits;
    private readonly int batch;

    public CnnWork(string weights, string input, int batch)
    {
        session = Session.Open(weights);
        this.batch = batch;
        images = InputFile.Read(input, batch, session.Channels, session.ImageSize);
        logits = new float[batch * session.NumClasses];
    }

    public void Call() => session.Run(images, batch, logits);

    public float[] Output()
    {
        Call();
        return logits;
    }

    public void Dispose() => session.Dispose();
}
