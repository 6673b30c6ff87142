using Espalier.Formats;

namespace Espalier.Models;

/// <summary>Reorders arrays of foreign checkpoints into PyTorch's [out, in] and OIHW layouts.</summary>
internal static class Layout
{
    /// <summary>[in, out] -> [out, in].</summary>
    public static NamedArray Transpose(NamedArray a)
    {
        Require(a, 2);
        return Transpose(a, a.Shape[0], a.Shape[1]);
    }

    /// <summary>Query, key or value kernel [D, heads, d] -> [heads·d, D].</summary>
    public static NamedArray InputToHeads(NamedArray a)
    {
        Require(a, 3);
        return Transpose(a, a.Shape[0], a.Shape[1] * a.Shape[2]);
    }

    /// <summary>Output kernel [heads, d, D] -> [D, heads·d].</summary>
    public static NamedArray HeadsToOutput(NamedArray a)
    {
        Require(a, 3);
        return Transpose(a, a.Shape[0] * a.Shape[1], a.Shape[2]);
    }

    /// <summary>HWIO -> OIHW.</summary>
    public static NamedArray ConvKernel(NamedArray a)
    {
        Require(a, 4);
        var (h, w, i, o) = (a.Shape[0], a.Shape[1], a.Shape[2], a.Shape[3]);
        NamedArray t = Transpose(a, h * w * i, o);             // [O, HWI]
        var data = new float[t.Data.Length];
        for (int row = 0; row < o; row++)
            for (int p = 0; p < h * w; p++)
                for (int c = 0; c < i; c++) data[((long)row * i + c) * h * w + p] = t.Data[((long)row * h * w + p) * i + c];
        return new NamedArray(a.Name, [o, i, h, w], data);
    }

    /// <summary>Any shape -> one axis.</summary>
    public static NamedArray Flatten(NamedArray a) => new(a.Name, [a.Data.Length], a.Data);

    private static NamedArray Transpose(NamedArray a, int rows, int columns)
    {
        var data = new float[a.Data.Length];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) data[(long)c * rows + r] = a.Data[(long)r * columns + c];
        return new NamedArray(a.Name, [columns, rows], data);
    }

    private static void Require(NamedArray a, int rank)
    {
        if (a.Shape.Length != rank)
            throw new InvalidDataException($"array {a.Name} has shape [{string.Join(",", a.Shape)}]; {rank} dimensions are expected");
    }
}
