using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Operators that give what is there another shape, or put it together.</summary>
internal static class OnnxReadShapes
{
    /// <summary>Shape and Size, which are constants.</summary>
    public static OnnxArray ShapeOf(OnnxNodeView node, int[] dims)
    {
        if (node.Operator == "Size") return new OnnxArray(OnnxType.Int64, [], [dims.Aggregate(1L, (a, n) => a * n)]);
        int Place(long at) => (int)Math.Clamp(at < 0 ? at + dims.Length : at, 0, dims.Length);
        int start = Place(node.Int("start", 0)), end = Place(node.Int("end", dims.Length));
        return OnnxArray.Whole([.. dims[start..Math.Max(start, end)].Select(n => (long)n)]);
    }

    /// <summary>A new shape that follows from the old one, for two images and for three.</summary>
    public static OnnxOperand Reshaped(OnnxReadCall call, Func<int[], int[]> shape) =>
        call.Emit.Reshape(call[0], shape(call[0].Dims), shape(call[0].DimsOfThree));

    public static OnnxOperand Reshape(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        long[] two = call.Has(1) ? call.Two(1)!.Longs()
            : call.Node.Longs("shape") ?? throw new InvalidDataException("it has no shape");
        long[] three = call.Has(1) ? call.Three(1)!.Longs() : two;
        bool zero = call.Node.Int("allowzero", 0) != 0;
        bool made = call.FixedImages > 0 && two.AsSpan().SequenceEqual(three) && !x.Dims.AsSpan().SequenceEqual(x.DimsOfThree);
        if (made) (two, three) = Opened(x, two, (int)call.FixedImages, zero);
        return call.Emit.Reshape(x, OnnxMoves.Reshaped(x.Dims, two, zero), OnnxMoves.Reshaped(x.DimsOfThree, three, zero));
    }

    /// <summary>
    /// A target that was written for a certain number of images, for two and for three of them. Where images are in the order of
    /// the numbers says which of the new axes they are in, or two neighbours: then an axis of its own comes first, and the last
    /// axis last.
    /// </summary>
    private static (long[] Two, long[] Three) Opened(OnnxOperand x, long[] target, int images, bool allowZero)
    {
        int axis = Array.FindIndex(Enumerable.Range(0, x.Rank).ToArray(), i => x.Dims[i] != x.DimsOfThree[i]);
        int[] made = [.. x.Dims.Select((n, i) => n + (x.DimsOfThree[i] - n) * (images - 2))];
        int[] dims = OnnxMoves.Reshaped(made, target, allowZero);
        long before = made[..axis].Aggregate(1L, (a, n) => a * n), product = 1, within = before * made[axis] / images;
        List<int> places = [];
        int own = -1;
        for (int i = 0; i < dims.Length; product *= dims[i++])
        {
            // The images are the slowest part of the axis, or all of it that is not before them.
            bool starts = product == before, ends = product * dims[i] == before * images && product < before;
            if ((starts || ends) && dims[i] % images == 0) places.Add(i);
            if (own < 0 && dims[i] == images && product >= before && product <= within) own = i;
        }
        int at = own >= 0 ? own
            : places.Where(i => i < dims.Length - 1).DefaultIfEmpty(places.Count > 0 ? places[^1] : -1).Last();
        if (at < 0) throw new InvalidDataException($"it was written for {images} images, and where they are is not seen");
        return ([.. dims.Select((n, i) => i == at ? n / images * 2L : n)],
            [.. dims.Select((n, i) => i == at ? n / images * 3L : n)]);
    }

    public static OnnxOperand Concat(OnnxReadCall call)
    {
        OnnxOperand[] parts = [.. Enumerable.Range(0, call.Count).Select(i => call[i])];
        if (parts.Length == 0) throw new InvalidDataException("it joins nothing");
        OnnxOperand like = parts.FirstOrDefault(p => !p.IsConstant) ?? parts[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", 1), like.Rank);
        for (int i = 0; i < parts.Length; i++)
        {
            // A class token that was written for a certain number of images.
            bool once = parts[i].IsConstant && !parts[i].Varies && axis > 0 && parts[i].Rank == like.Rank && like.Dims[0] == 2
                && like.DimsOfThree[0] == 3 && parts[i].Dims[0] == Math.Max(1, call.FixedImages);
            if (once) parts[i] = call.Make("Repeat", First(call, parts[i]), call.Emit.FirstInput);
        }
        return parts.Length == 1 ? parts[0] : call.Emit.Node("Concat", new OpSettings().Set("axis", axis), parts);
    }

    public static OnnxOperand Expand(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        if (!call.Has(1)) throw new InvalidDataException("its operand 1 is missing");
        int[] two = call.Two(1)!.Ints(), three = call.Three(1)!.Ints();
        if (call.FixedImages > 1 && two.Length == x.Rank && x.Rank > 0 && two[0] == call.FixedImages
            && x.Dims[0] != x.DimsOfThree[0])
            two[0] = three[0] = 1;
        return Broadcast(call, x, OnnxArray.Joint(x.Dims, two), OnnxArray.Joint(x.DimsOfThree, three));
    }

    /// <summary>Repeats along axes of one entry.</summary>
    public static OnnxOperand Broadcast(OnnxReadCall call, OnnxOperand x, int[] two, int[] three)
    {
        if (x.Dims.AsSpan().SequenceEqual(two) && x.DimsOfThree.AsSpan().SequenceEqual(three)) return x;
        int[] own2 = Padded(x.Dims, two.Length), own3 = Padded(x.DimsOfThree, three.Length);
        int[] zeros = [.. two.Select((n, i) => own2[i] != 1 || n == 1 ? 1 : n == three[i] ? n
            : throw new InvalidDataException("it repeats what it reads as often as there are images"))];
        if (!own3.Where((n, i) => n != three[i] && n != 1).Any() && zeros.All(n => n == 1))
            return call.Emit.Reshape(x, two, three);
        return call.Make("Add", x, call.Emit.Made(zeros, _ => 0));
    }

    /// <summary>[N, C, H, W] -> [N, C/b², H b, W b], channels being split in one of two orders.</summary>
    public static OnnxOperand DepthToSpace(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int b = Block(call, x), c = x.Dims[1] / (b * b), h = x.Dims[2], w = x.Dims[3];
        bool columnsFirst = call.Node.Text("mode", "DCR") == "CRD";
        OnnxOperand split = columnsFirst ? Shaped(call, x, c, b, b, h, w) : Shaped(call, x, b, b, c, h, w);
        OnnxOperand turned = call.Emit.Permute(split, columnsFirst ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]);
        return Shaped(call, turned, c, h * b, w * b);
    }

    public static OnnxOperand SpaceToDepth(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int b = Block(call, x), c = x.Dims[1], h = x.Dims[2] / b, w = x.Dims[3] / b;
        OnnxOperand turned = call.Emit.Permute(Shaped(call, x, c, h, b, w, b), 0, 3, 5, 1, 2, 4);
        return Shaped(call, turned, c * b * b, h, w);
    }

    /// <summary>Under other axes behind the first.</summary>
    public static OnnxOperand Shaped(OnnxReadCall call, OnnxOperand x, params int[] rest) =>
        call.Emit.Reshape(x, [x.Dims[0], .. rest], [x.DimsOfThree[0], .. rest]);

    private static int Block(OnnxReadCall call, OnnxOperand x) =>
        x.Rank == 4 && call.Node.Int("blocksize", 0) is > 0 and < 1 << 12 and var b
        ? (int)b : throw new InvalidDataException("its operand is no map [N, C, H, W], or its blocksize is none");

    private static int[] Padded(int[] dims, int rank) => [.. Enumerable.Repeat(1, Math.Max(0, rank - dims.Length)), .. dims];

    private static OnnxOperand First(OnnxReadCall call, OnnxOperand constant)
    {
        if (constant.Dims[0] == 1) return call.Emit.Weight(constant);
        OnnxArray first = OnnxReadCall.OfEachImage(constant.Two, "it puts a constant beside images that");
        return call.Emit.Weight(OnnxOperand.Constant(constant.Name, first, isWeight: constant.IsWeight));
    }
}
