using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Rotary positions (opset 23): pairs of numbers of each head are turned by an angle of their token's place. x [N, H, T, d] or
/// [N, T, H d]; cosines and sines are constants, of each token [N, T, d/2] or of each place [P, d/2], which position_ids name.
/// </summary>
internal static class OnnxReadRotary
{
    public static OnnxOperand Read(OnnxReadCall call)
    {
        OnnxEmitter emit = call.Emit;
        OnnxOperand x = call[0];
        if (x.Rank is not (3 or 4)) throw new InvalidDataException($"x has {x.Rank} axes");
        bool split = x.Rank == 4;
        int heads = split ? x.Dims[1] : (int)Math.Clamp(call.Node.Int("num_heads", 0), 0, int.MaxValue);
        int tokens = split ? x.Dims[2] : x.Dims[1];
        if (heads < 1 || (!split && x.Dims[2] % heads != 0)) throw new InvalidDataException($"its num_heads is {heads}");
        // Heads stand in front of tokens or behind them, and so does what the angles are repeated along.
        int width = split ? x.Dims[3] : x.Dims[2] / heads;
        OnnxOperand apart = split ? x : OnnxReadShapes.Shaped(call, x, tokens, heads, width);
        int turned = call.Node.Int("rotary_embedding_dim", 0) is var dim && dim == 0 ? width : (int)Math.Clamp(dim, 0, width),
            half = turned / 2;
        if (turned % 2 != 0 || half == 0) throw new InvalidDataException($"it turns {turned} numbers of a head");
        OnnxOperand cos = Angles(1), sin = Angles(2);
        bool woven = call.Node.Int("interleaved", 0) != 0;
        OnnxOperand first = Half(0), second = Half(1);
        OnnxOperand a = call.Make("Sub", call.Make("Mul", first, cos), call.Make("Mul", second, sin));
        OnnxOperand b = call.Make("Add", call.Make("Mul", first, sin), call.Make("Mul", second, cos));
        OnnxOperand y = woven ? Woven(a, b) : Joined(3, a, b);
        if (turned < width) y = Joined(3, y, emit.Slice(apart, 3, turned, width - turned));
        return split ? y : OnnxReadShapes.Shaped(call, y, tokens, heads * width);

        OnnxOperand Joined(int axis, params OnnxOperand[] parts) =>
            emit.Node("Concat", new OpSettings().Set("axis", axis), parts);

        OnnxOperand Woven(OnnxOperand even, OnnxOperand odd)
        {
            OnnxOperand Each(OnnxOperand v) => OnnxReadShapes.Shaped(call, v, [.. v.Dims[1..], 1]);
            return OnnxReadShapes.Shaped(call, Joined(4, Each(even), Each(odd)), [.. even.Dims[1..3], turned]);
        }

        OnnxOperand Half(int which)
        {
            if (!woven) return emit.Slice(apart, 3, which * half, half);
            int[][] two = OnnxMoves.Whole(apart.Dims), three = OnnxMoves.Whole(apart.DimsOfThree);
            two[3] = three[3] = [.. Enumerable.Range(0, half).Select(i => 2 * i + which)];
            return OnnxReadMoves.Take(call, apart, two, three);
        }

        OnnxOperand Angles(int operand)
        {
            OnnxArray list;
            if (call.Has(3))
            {
                OnnxArray all = call.Given(operand);
                if (all.Dims.Length != 2) throw new InvalidDataException($"its operand {operand} is [{string.Join(",", all.Dims)}]");
                list = all.Take([OnnxMoves.Indices(call.OfEachImage(3), all.Dims[0]), [.. Enumerable.Range(0, all.Dims[1])]]);
            }
            else list = call.OfEachImage(operand);
            if (list.Values.Length != tokens * half || list.Dims[^1] != half)
                throw new InvalidDataException($"its operand {operand} is [{string.Join(",", list.Dims)}] for {tokens} tokens and {half} pairs");
            return emit.Made(split ? [tokens, half] : [tokens, 1, half], i => list.Values[i]);
        }
    }
}
