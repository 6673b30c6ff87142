namespace Espalier.Peers;

/// <summary>A loaded model with its input, ready to do the same thing again and again.</summary>
internal interface IWork : IDisposable
{
    /// <summary>Once through.</summary>
    void Call();

    /// <summary>Once through, and what came out: logits, or a training step's loss.</summary>
    float[] Output();
}
