using System.Text;

namespace Espalier.Formats;

/// <summary>A numpy array out of a pickle, row-major, elements as stored.</summary>
public sealed class NumpyArray : IPickleState
{
    /// <summary>Dimensions; empty for a scalar.</summary>
    public int[] Shape { get; private set; } = [0];

    public ElementType Type { get; private set; }

    /// <summary>The elements' bytes, little-endian.</summary>
    public byte[] Bytes { get; private set; } = [];

    /// <summary>State: (version, shape, dtype, Fortran order, bytes).</summary>
    void IPickleState.SetState(object? state)
    {
        if (state is not object?[] { Length: 5 } s
            || s[1] is not object?[] dims || s[2] is not NumpyType type || s[3] is not bool fortran || s[4] is not byte[] bytes
            || !dims.All(d => d is long))
            throw new InvalidDataException("the pickle has a numpy array of a form that is not read");
        Shape = ArrayShape.Check("numpy array", [.. dims.Select(d => (long)d!)], out int count);
        Type = type.Type;
        int size = Type.Size();
        if (bytes.Length != (long)count * size)
            throw new InvalidDataException($"the pickle has a numpy array of {count} elements with {bytes.Length} bytes");
        Bytes = bytes;
        if (!fortran || Shape.Length < 2) return;
        Bytes = new byte[bytes.Length];
        ArrayShape.GatherBytes(bytes, size, Shape, ArrayShape.ColumnMajorStrides(Shape), Bytes);
    }
}

/// <summary>A numpy dtype: plain little-endian numbers only.</summary>
internal sealed class NumpyType(ElementType type) : IPickleState
{
    public ElementType Type { get; } = type;

    /// <summary>State: (version, byte order, ...); the rest is for structured types.</summary>
    public void SetState(object? state)
    {
        if (state is not object?[] { Length: > 1 } s || NumpyPickle.Text(s[1]) is not ("<" or "|" or "="))
            throw new InvalidDataException("the pickle has a numpy type that is not little-endian");
    }
}

/// <summary>The names that pickles of numpy arrays and scalars mention, of numpy 1 and 2, written by Python 2 or 3.</summary>
public static class NumpyPickle
{
    /// <summary>Allows numpy arrays (they become <see cref="NumpyArray"/>) and numpy scalars (double).</summary>
    public static PickleGlobals AddNumpy(this PickleGlobals globals)
    {
        globals.AddConstant("numpy", "ndarray", "ndarray").Add("numpy", "dtype", MakeType).Add("_codecs", "encode", Encode);
        foreach (string module in (string[])["numpy.core.multiarray", "numpy._core.multiarray"])
            globals.Add(module, "_reconstruct", _ => new NumpyArray()).Add(module, "scalar", MakeScalar);
        foreach (string module in (string[])["numpy.core.numeric", "numpy._core.numeric"])
            globals.Add(module, "_frombuffer", FromBuffer);
        return globals;
    }

    /// <summary>Text that may have been a Python 2 str.</summary>
    internal static string? Text(object? value) =>
        value as string ?? (value is byte[] bytes ? Encoding.Latin1.GetString(bytes) : null);

    private static NumpyType MakeType(object?[] arguments)
    {
        string code = arguments.Length > 0 && Text(arguments[0]) is { } text ? text : "";
        if (!ElementTypes.TryParseNumpy(code, out ElementType type))
            throw new InvalidDataException(
                $"the pickle has numpy elements of type {ReadGuard.Quote(code)}; only plain numbers are read");
        return new NumpyType(type);
    }

    /// <summary>Protocol 2 has no bytes: Python 3 writes them as text to be encoded as Latin-1.</summary>
    private static byte[] Encode(object?[] arguments)
    {
        if (arguments is not [string text, ..] || arguments.Length > 1 && Text(arguments[1]) is not ("latin1" or "latin-1")
            || text.AsSpan().ContainsAnyExceptInRange('\0', '\u00ff'))
            throw new InvalidDataException("the pickle encodes bytes in another way than Latin-1");
        return Encoding.Latin1.GetBytes(text);
    }

    private static object MakeScalar(object?[] arguments)
    {
        if (arguments is not [NumpyType type, byte[] bytes] || bytes.Length != type.Type.Size())
            throw new InvalidDataException("the pickle has a numpy scalar of a form that is not read");
        if (type.Type == ElementType.F64) return BitConverter.ToDouble(bytes);
        Span<float> value = stackalloc float[1];
        ElementReader.ToFloats(type.Type, bytes, value);
        return (double)value[0];
    }

    /// <summary>Protocol 5: (bytes, dtype, shape, order).</summary>
    private static NumpyArray FromBuffer(object?[] arguments)
    {
        if (arguments is not [byte[] bytes, NumpyType type, object?[] shape, var order] || Text(order) is not ("C" or "F"))
            throw new InvalidDataException("the pickle has a numpy array of a form that is not read");
        var array = new NumpyArray();
        ((IPickleState)array).SetState(new object?[] { 1L, shape, type, Text(order) == "F", bytes });
        return array;
    }
}
