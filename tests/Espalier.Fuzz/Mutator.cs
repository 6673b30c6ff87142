using Espalier.Tensors;

namespace Espalier.Fuzz;

/// <summary>Damages files: a few changes each, the same for the same number.</summary>
internal static class Mutator
{
    /// <summary>Names, lengths and structure of all formats are near the front; further back most bytes are values, in which little
    /// can go wrong.</summary>
    private const int Front = 4096;

    private const int MostAdded = 4096;

    /// <summary>As lengths and numbers of all widths and of text: nothing, one, the largest, the largest with a sign.</summary>
    private static readonly byte[][] Numbers =
    [
        [0], [1], [0x7f], [0xff], [0xff, 0xff], [0, 0, 0, 0], [0xff, 0xff, 0xff, 0x7f], [0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff],
        [0, 0, 0, 0x80], [0, 0, 0, 0, 0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], [.. Enumerable.Repeat((byte)0xff, 11)],
        "0"u8.ToArray(), "-1"u8.ToArray(), "99999999999"u8.ToArray(), "1e999"u8.ToArray(), "null"u8.ToArray(), "\"\\ud800\""u8.ToArray(),
        "[]"u8.ToArray(), "{}"u8.ToArray(), "\n"u8.ToArray(), "\""u8.ToArray(), ".."u8.ToArray(),
    ];

    /// <param name="other">Another file of the kind, to take parts of.</param>
    public static byte[] Mutant(byte[] file, byte[] other, ref Rng rng)
    {
        byte[] mutant = [.. file];
        for (int changes = 1 + rng.NextInt(3); changes > 0 && mutant.Length > 0; changes--)
        {
            int at = rng.NextInt(rng.NextInt(2) == 0 ? mutant.Length : Math.Min(mutant.Length, Front));
            int length = Math.Min(1 + rng.NextInt(40), mutant.Length - at);
            switch (rng.NextInt(9))
            {
                case 0: mutant[at] ^= (byte)(1 << rng.NextInt(8)); break;
                case 1: mutant[at] = (byte)rng.NextInt(256); break;
                case 2: mutant = [.. mutant[..at], .. mutant[(at + length)..]]; break;
                case 3:
                    int from = rng.NextInt(other.Length);
                    mutant = [.. mutant[..at], .. other.AsSpan(from, Math.Min(length, other.Length - from)), .. mutant[at..]];
                    break;
                case 4:
                    byte[] number = Numbers[rng.NextInt(Numbers.Length)];
                    int end = Math.Min(mutant.Length, at + (rng.NextInt(2) == 0 ? number.Length : 1));
                    mutant = [.. mutant[..at], .. number, .. mutant[end..]];
                    break;
                case 5: mutant = mutant[..at]; break;
                case 6:
                    int times = rng.NextInt(Math.Max(MostAdded / length, 1));
                    mutant = [.. mutant[..at], .. Enumerable.Repeat(mutant.AsSpan(at, length).ToArray(), times).SelectMany(b => b), .. mutant[at..]];
                    break;
                case 7: Digit(mutant, at, ref rng); break;
                default:
                    int to = rng.NextInt(mutant.Length - length + 1);
                    mutant.AsSpan(at, length).ToArray().CopyTo(mutant, to);
                    break;
            }
        }
        return mutant;
    }

    /// <summary>Another digit in the place of the next one: numbers of text formats stay numbers.</summary>
    private static void Digit(byte[] file, int at, ref Rng rng)
    {
        for (int i = at; i < file.Length; i++)
            if (char.IsAsciiDigit((char)file[i]))
            {
                file[i] = (byte)('0' + rng.NextInt(10));
                return;
            }
    }
}
