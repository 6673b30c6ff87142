using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// What is added to the scores of attention before the softmax, and which keys are hidden. An empty one costs nothing. Hidden
/// keys have minus infinity added, which gives them a probability of exactly 0; a query that sees no key gives zeros.
/// </summary>
internal unsafe struct AttentionBias
{
    /// <summary>Whether a query sees only the keys whose token number is not above its own.</summary>
    public bool Causal;

    /// <summary>[key rows]: a key of 0 is hidden. Null for none.</summary>
    public float* KeyMask;

    /// <summary>[key rows], added to the scores of every query and head. Null for none.</summary>
    public float* OfKeys;

    /// <summary>Floats from one number of <see cref="OfKeys"/> to the next.</summary>
    public nint KeyStride;

    /// <summary>[heads, tokens, tokens]: what the pair of a query's and a key's token gets. Null for none.</summary>
    public float* OfPairs;

    public int Tokens;

    /// <summary>Which token of its image each row is; rising within an image. Only for <see cref="Causal"/> and
    /// <see cref="OfPairs"/>.</summary>
    public int* QueryTokens, KeyTokens;

    /// <summary>Gradients, added to: [heads, key rows] of <see cref="OfKeys"/>, which is to be summed over the heads, and
    /// [heads, tokens, tokens] of <see cref="OfPairs"/>. Null where they are not wanted.</summary>
    public float* DOfKeys, DOfPairs;

    /// <summary>Whether all queries and heads get the same, and see all keys.</summary>
    public readonly bool IsOfKeys => OfKeys != null && !Causal && KeyMask == null && OfPairs == null;

    public readonly bool IsEmpty => !Causal && KeyMask == null && OfKeys == null && OfPairs == null;

    /// <summary>target [rows, stride] = the bias of some queries of one image and all its keys; minus infinity for hidden keys
    /// and for the columns after the last key.</summary>
    /// <param name="query">Row of the first query; <paramref name="key"/> of the image's first key.</param>
    public readonly void Fill(int head, nint query, int rows, nint key, int keys, float* target, int stride)
    {
        for (int i = 0; i < rows; i++, target += stride)
        {
            var row = new Span<float>(target, keys);
            if (OfPairs != null) Pairs(head, query + i, key, row);
            else if (OfKeys != null) for (int j = 0; j < keys; j++) row[j] = OfKeys[(key + j) * KeyStride];
            else row.Clear();
            for (int j = 0; KeyMask != null && j < keys; j++)
                if (KeyMask[key + j] == 0) row[j] = float.NegativeInfinity;
            for (int j = keys - 1; Causal && j >= 0 && KeyTokens[key + j] > QueryTokens[query + i]; j--)
                row[j] = float.NegativeInfinity;
            new Span<float>(target + keys, stride - keys).Fill(float.NegativeInfinity);
        }
    }

    /// <summary>Adds a block's gradient of the scores, [rows, stride], to the gradients.</summary>
    public readonly void AddGradients(
        int head, nint query, int rows, nint key, int keys, nint allKeys, float* dScores, int stride)
    {
        for (int i = 0; i < rows; i++)
        {
            var row = new ReadOnlySpan<float>(dScores + (nint)i * stride, keys);
            if (DOfKeys != null) Add(row, new Span<float>(DOfKeys + head * allKeys + key, keys));
            if (DOfPairs == null) continue;
            float* pairs = DOfPairs + PairRow(head, query + i);
            if (IsRun(key, keys)) Add(row, new Span<float>(pairs + KeyTokens[key], keys));
            else for (int j = 0; j < keys; j++) pairs[KeyTokens[key + j]] += row[j];
        }
    }

    private static void Add(ReadOnlySpan<float> x, Span<float> sums) => TensorPrimitives.Add(sums, x, sums);

    private readonly nint PairRow(int head, nint query) => ((nint)head * Tokens + QueryTokens[query]) * Tokens;

    // Whether no token was dropped between the image's first key and its last.
    private readonly bool IsRun(nint key, int keys) => KeyTokens[key + keys - 1] - KeyTokens[key] == keys - 1;

    private readonly void Pairs(int head, nint query, nint key, Span<float> row)
    {
        float* pairs = OfPairs + PairRow(head, query);
        if (IsRun(key, row.Length)) new ReadOnlySpan<float>(pairs + KeyTokens[key], row.Length).CopyTo(row);
        else for (int j = 0; j < row.Length; j++) row[j] = pairs[KeyTokens[key + j]];
    }
}
