using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <summary>
/// The whole network on a few images, in buffers of its own. Two lanes may run at once, each inside a job on one thread; a
/// lane that runs outside of any job has the kernels share their work among all threads. Nothing is allocated in a run.
/// <para>Buffers, with R the rows of all images, P those of their prefix tokens: the residual stream x [R, D]; what a norm or
/// attention gives [R, D]; the widest layers' results [R, max(3D, M)]; and the same again for P rows.</para>
/// </summary>
internal sealed unsafe partial class VitLane : IDisposable
{
    private readonly VitWeights weights;
    private readonly VitConfig config;
    private readonly int width, tokens, prefix, patchValues;
    private readonly float scale;
    private readonly HeadLayout heads;
    private readonly Tensor memory;
    private readonly float* x, normed, wide, prefixX, prefixNormed, prefixMixed, prefixWide, scores, sorted, second;
    private readonly int* offsets, prefixOffsets, ids;
    private int images;

    public VitLane(VitWeights weights, int capacity)
    {
        this.weights = weights;
        config = weights.Config;
        Capacity = capacity;
        (width, tokens, prefix) = (config.HiddenSize, config.Tokens, config.PrefixTokens);
        patchValues = config.PatchChannels * config.PatchSize * config.PatchSize;
        scale = 1 / MathF.Sqrt(width / config.NumHeads);
        heads = HeadLayout.Uniform(config.NumHeads, width / config.NumHeads);
        int rows = checked(capacity * tokens), few = capacity * prefix;
        int widest = Math.Max(Math.Max(3 * width, config.MlpDim), patchValues);
        long[] sizes =
        [
            (long)rows * width, (long)rows * width, (long)rows * widest, (long)few * width, (long)few * width, (long)few * width,
            (long)few * Math.Max(width, config.MlpDim), rows, tokens, (long)capacity * config.NumClasses, capacity + 1,
            capacity + 1, rows,
        ];
        memory = Tensor.Unscoped(new Shape(checked((int)sizes.Sum(Padded))));
        float* next = memory.Data;
        int index = 0;
        x = Next();
        normed = Next();
        wide = Next();
        prefixX = Next();
        prefixNormed = Next();
        prefixMixed = Next();
        prefixWide = Next();
        scores = Next();
        sorted = Next();
        second = Next();
        offsets = (int*)Next();
        prefixOffsets = (int*)Next();
        for (int b = 0; b <= capacity; b++) prefixOffsets[b] = b * prefix;
        ids = (int*)Next();

        float* Next()
        {
            float* part = next;
            next += Padded(sizes[index++]);
            return part;
        }

        // Every buffer begins on a cache line.
        static long Padded(long values) => (values + 15) / 16 * 16;
    }

    /// <summary>Most images at once.</summary>
    public int Capacity { get; }

    private int Rows => offsets[images];

    /// <param name="input">[count, C, S, S], or the stem's maps.</param>
    /// <param name="logits">[count, classes].</param>
    /// <param name="first">Which image of the trace the first of these is.</param>
    public void Run(float* input, int count, in Pruning pruning, float* logits, TokenTrace? trace, int first)
    {
        images = count;
        Embed(input);
        int stage = 0;
        Note(trace, first, stage++);
        int whole = weights.NarrowEnd ? config.NumLayers - 1 : config.NumLayers;
        for (int i = 0; i < whole; i++)
        {
            Block(weights.Blocks[i]);
            if (!pruning.IsActive || weights.AgentAfter[i] is not { } agent) continue;
            Prune(agent, pruning);
            Note(trace, first, stage++);
        }

        if (weights.NarrowEnd) LastBlock(weights.Blocks[^1]);
        else GatherPrefix(x, prefixX);
        Classify(logits);
    }

    public void Dispose() => memory.Dispose();

    private void Note(TokenTrace? trace, int first, int stage)
    {
        for (int b = 0; trace is not null && b < images; b++)
            trace.Note(first + b, stage, new ReadOnlySpan<int>(ids + offsets[b], offsets[b + 1] - offsets[b]));
    }

    private void Embed(float* input)
    {
        int side = config.Grid * config.PatchSize, patches = tokens - prefix;
        new Patches(images, config.PatchChannels, side, side, config.PatchSize).ToRows(input, wide);
        weights.Patches.Run(images * patches, wide, patchValues, normed, width, default);
        float* table = weights.Table.Data;
        for (int b = 0; b <= images; b++) offsets[b] = b * tokens;
        for (int b = 0; b < images; b++)
        {
            nint row = (nint)b * tokens;
            new ReadOnlySpan<float>(table, prefix * width).CopyTo(new Span<float>(x + row * width, prefix * width));
            TensorPrimitives.Add(
                new ReadOnlySpan<float>(table + prefix * width, patches * width),
                new ReadOnlySpan<float>(normed + (nint)b * patches * width, patches * width),
                new Span<float>(x + (row + prefix) * width, patches * width));
            for (int t = 0; t < tokens; t++) ids[row + t] = t;
        }
    }

    private void Block(BlockWeights block)
    {
        int rows = Rows;
        block.AttentionNorm.Run(rows, width, x, normed);
        block.Mix.Run(rows, normed, width, wide, 3 * width);
        Attention.Forward(
            heads.Over(offsets, offsets, images, scale), default, wide, 3 * width, wide + width, 3 * width,
            wide + 2 * width, 3 * width, normed, width);
        block.Output.Run(rows, normed, width, x, width, residual: x);
        Mlp(block, rows, x, normed, wide);
    }

    private void Mlp(BlockWeights block, int rows, float* x, float* normed, float* hidden)
    {
        block.MlpNorm.Run(rows, width, x, normed);
        block.Fc1.Run(rows, normed, width, hidden, config.MlpDim, gelu: true);
        block.Fc2.Run(rows, hidden, config.MlpDim, x, width, residual: x);
    }

    /// <summary>Keys and values of all rows, everything else of the prefix rows alone.</summary>
    private void LastBlock(BlockWeights block)
    {
        int rows = Rows, few = images * prefix;
        block.AttentionNorm.Run(rows, width, x, normed);
        block.Mix.Run(rows, normed, width, wide, 2 * width);
        GatherPrefix(x, prefixX);
        GatherPrefix(normed, prefixNormed);
        block.Query!.Run(few, prefixNormed, width, prefixMixed, width);
        Attention.Forward(
            heads.Over(prefixOffsets, offsets, images, scale), default, prefixMixed, width, wide, 2 * width, wide + width,
            2 * width, prefixNormed, width);
        block.Output.Run(few, prefixNormed, width, prefixX, width, residual: prefixX);
        Mlp(block, few, prefixX, prefixNormed, prefixWide);
    }

    private void GatherPrefix(float* rows, float* target)
    {
        for (int b = 0; b < images; b++)
        {
            new ReadOnlySpan<float>(rows + (nint)offsets[b] * width, prefix * width)
                .CopyTo(new Span<float>(target + (nint)b * prefix * width, prefix * width));
        }
    }

    /// <summary>prefixX -> logits; with a distillation token the mean of both heads.</summary>
    private void Classify(float* logits)
    {
        weights.Norm.Run(images * prefix, width, prefixX, prefixNormed);
        int stride = prefix * width;
        weights.Head.Run(images, prefixNormed, stride, logits, config.NumClasses);
        if (weights.DistillationHead is null) return;
        weights.DistillationHead.Run(images, prefixNormed + width, stride, second, config.NumClasses);
        int count = images * config.NumClasses;
        var sum = new Span<float>(logits, count);
        TensorPrimitives.Add(sum, new ReadOnlySpan<float>(second, count), sum);
        TensorPrimitives.Multiply(sum, 0.5f, sum);
    }
}
