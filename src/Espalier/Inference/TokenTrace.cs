namespace Espalier.Inference;

/// <summary>Receives which tokens of each image were left in one run of a <see cref="Session"/>. It may be used again and again; its
/// memory grows only with the largest batch.</summary>
/// <param name="indices">Whether to note which tokens are left, and not only how many.</param>
public sealed class TokenTrace(bool indices = false)
{
    private int[] counts = [];
    private int[] kept = [];
    private int tokens;

    /// <summary>Images of the last run.</summary>
    public int Images { get; private set; }

    /// <summary>Entries an image: one for what enters block 0, and one for each agent where agents acted; none without tokens.
    /// </summary>
    public int Stages { get; private set; }

    /// <summary>[stages] tokens that entered block 0, then those left after each agent; class token included.</summary>
    public ReadOnlySpan<int> Counts(int image) => counts.AsSpan(image * Stages, Stages);

    /// <summary>Which tokens those are: 0 the class token, then the patches row by row (a distillation token comes before
    /// them).</summary>
    /// <exception cref="InvalidOperationException">The trace was made without indices.</exception>
    public ReadOnlySpan<int> Kept(int image, int stage)
    {
        if (!indices) throw new InvalidOperationException("this trace only counts; make it with indices: true");
        return kept.AsSpan((image * Stages + stage) * tokens, Counts(image)[stage]);
    }

    internal void Begin(int images, int stages, int tokensAnImage)
    {
        (Images, Stages, tokens) = (images, stages, tokensAnImage);
        if (counts.Length < images * stages) counts = new int[images * stages];
        // Not every stage of every network is noted.
        else counts.AsSpan(0, images * stages).Clear();
        if (indices && kept.Length < (long)images * stages * tokens) kept = new int[checked(images * stages * tokens)];
    }

    /// <summary>Different images may be noted by different threads at once.</summary>
    internal void Note(int image, int stage, ReadOnlySpan<int> left)
    {
        counts[image * Stages + stage] = left.Length;
        if (indices) left.CopyTo(kept.AsSpan((image * Stages + stage) * tokens));
    }
}
