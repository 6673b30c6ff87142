using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Attention as one operator (opset 23): q, k, v as [N, T, H d] or [N, H, T, d].</summary>
internal static class OnnxReadAttention
{
    public static OnnxOperand Read(OnnxReadCall call)
    {
        for (int i = 4; i < call.Count; i++)
            if (call.Has(i))
                throw new InvalidDataException("its keys and values of earlier calls, and their lengths, are not read");
        if (call.Node.Float("softcap", 0) != 0) throw new InvalidDataException("its softcap is not read");
        OnnxOperand[] x = [call[0], call[1], call[2]];
        bool split = x[0].Rank == 4;
        long heads = split ? x[0].Dims[1] : call.Node.Int("q_num_heads", 0);
        long keys = split ? x[1].Dims[1] : call.Node.Int("kv_num_heads", heads);
        if (x.Any(o => o.IsConstant || o.Rank != (split ? 4 : 3)) || heads < 1)
            throw new InvalidDataException("its operands have no heads");
        if (keys < 1 || heads % keys != 0 || (!split && (x[0].Dims[2] % heads != 0 || x[1].Dims[2] % keys != 0
            || x[2].Dims[2] % keys != 0)))
            throw new InvalidDataException($"its {heads} heads of queries do not share {keys} of keys");
        if (split) for (int i = 0; i < 3; i++) x[i] = Joined(call, x[i]);
        if (heads != keys) for (int i = 1; i < 3; i++) x[i] = Shared(call, x[i], (int)keys, (int)(heads / keys));
        int width = x[0].Dims[2] / (int)heads, values = x[2].Dims[2] / (int)heads;
        float scale = call.Node.Float("scale", (float)(1 / Math.Sqrt(width)));
        AttentionMask mask = call.Node.Int("is_causal", 0) != 0 ? AttentionMask.Causal : AttentionMask.None;
        OpSettings settings =
            new OpSettings().Set("queryWidth", width).Set("valueWidth", values).Set("scale", scale).Set("mask", mask);
        OnnxOperand y = call.Emit.Node("Attention", settings, x[0], x[1], x[2], Bias(call, (int)heads, x[1].Dims[1]));
        if (!split) return y;
        OnnxOperand apart = OnnxReadShapes.Shaped(call, y, y.Dims[1], (int)heads, values);
        return call.Emit.Permute(apart, 0, 2, 1, 3);
    }

    /// <summary>Each head of keys or values as often as there are heads of queries that share it.</summary>
    private static OnnxOperand Shared(OnnxReadCall call, OnnxOperand x, int keys, int each)
    {
        int width = x.Dims[2] / keys, count = OnnxArray.Count([keys, each, width]);
        int[][] two = OnnxMoves.Whole(x.Dims), three = OnnxMoves.Whole(x.DimsOfThree);
        two[2] = three[2] = [.. Enumerable.Range(0, count).Select(i => i / width / each * width + i % width)];
        return OnnxReadMoves.Take(call, x, two, three);
    }

    private static OnnxOperand Joined(OnnxReadCall call, OnnxOperand x) =>
        OnnxReadShapes.Shaped(call, call.Emit.Permute(x, 0, 2, 1, 3), x.Dims[2], x.Dims[1] * x.Dims[3]);

    /// <summary>What is added to the scores, [H, T, T].</summary>
    private static OnnxOperand? Bias(OnnxReadCall call, int heads, int tokens)
    {
        if (call.Fixed(3) is not { } bias) return null;
        // Pairs that a mask of truths leaves out.
        if (bias.Type == OnnxType.Bool)
            bias = new OnnxArray(OnnxType.Float, bias.Dims, Array.ConvertAll(bias.Values, v => v != 0 ? 0 : -1e30));
        if (!bias.IsWhole && bias.Dims is not [> 1, _, _, _])
            return call.Emit.Weight(OnnxOperand.Constant(call[3].Name,
                (bias.Dims.Length == 4 ? bias.Shaped(bias.Dims[1..]) : bias)
                .Expanded([heads, tokens, tokens]), isWeight: call[3].IsWeight));
        throw new InvalidDataException("its attn_mask is not one number for each pair of tokens");
    }
}
