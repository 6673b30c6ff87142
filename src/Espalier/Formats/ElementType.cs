namespace Espalier.Formats;

/// <summary>How one element of a stored array is encoded; all are little-endian. The names are those of safetensors.</summary>
public enum ElementType
{
    Bool, U8, I8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64,
}

/// <summary>Sizes and names of element types.</summary>
public static class ElementTypes
{
    /// <summary>Bytes one element takes.</summary>
    public static int Size(this ElementType type) => type switch
    {
        ElementType.Bool or ElementType.U8 or ElementType.I8 => 1,
        ElementType.I16 or ElementType.U16 or ElementType.F16 or ElementType.BF16 => 2,
        ElementType.I32 or ElementType.U32 or ElementType.F32 => 4,
        ElementType.I64 or ElementType.U64 or ElementType.F64 => 8,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "no such element type"),
    };

    /// <summary>The name in a safetensors header, such as F32 or BOOL.</summary>
    public static string SafetensorsName(this ElementType type) => type.ToString().ToUpperInvariant();

    internal static bool TryParseSafetensors(string name, out ElementType type)
    {
        foreach (ElementType candidate in Enum.GetValues<ElementType>())
        {
            if (candidate.SafetensorsName() != name) continue;
            type = candidate;
            return true;
        }
        type = default;
        return false;
    }

    /// <summary>numpy's type codes, kind and size without the byte order: f4, i8, u1, b1.</summary>
    internal static bool TryParseNumpy(string code, out ElementType type)
    {
        ElementType? known = code switch
        {
            "b1" => ElementType.Bool,
            "u1" => ElementType.U8,
            "i1" => ElementType.I8,
            "i2" => ElementType.I16,
            "u2" => ElementType.U16,
            "i4" => ElementType.I32,
            "u4" => ElementType.U32,
            "i8" => ElementType.I64,
            "u8" => ElementType.U64,
            "f2" => ElementType.F16,
            "f4" => ElementType.F32,
            "f8" => ElementType.F64,
            _ => null,
        };
        type = known ?? default;
        return known is not null;
    }
}
