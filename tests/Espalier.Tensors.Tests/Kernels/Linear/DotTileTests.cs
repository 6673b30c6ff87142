using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

public sealed unsafe class DotTileTests
{
    public static TheoryData<string> Int8 => DotKernelList.Int8;

    public static TheoryData<string> Bf16 => DotKernelList.Bf16;

    [Theory]
    [MemberData(nameof(Int8))]
    public void SumsOfBytesAreExact(string name)
    {
        DotTile tile = DotKernelList.Get(name);
        var random = new Random(3);
        foreach (int groups in new[] { 0, 4, 12, 64 })
        {
            for (int height = 1; height <= tile.MaxRows; height++)
            {
                if (tile.Height(height) != height)
                {
                    continue;
                }

                using var operands = new Operands(tile, height, groups);
                random.NextBytes(new Span<byte>(operands.A, operands.BytesA));
                random.NextBytes(new Span<byte>(operands.B, operands.BytesB));
                operands.AssertSums(tile, height, groups);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Int8))]
    public void TheLargestBytesDoNotSaturate(string name)
    {
        DotTile tile = DotKernelList.Get(name);
        int height = tile.Height(tile.MaxRows);
        foreach (byte weight in new byte[] { 127, 0x81, 0x80 })
        {
            using var operands = new Operands(tile, height, 64);
            new Span<byte>(operands.A, operands.BytesA).Fill(255);
            new Span<byte>(operands.B, operands.BytesB).Fill(weight);
            operands.AssertSums(tile, height, 64);
        }
    }

    [Theory]
    [MemberData(nameof(Bf16))]
    public void SumsOfBf16AreCloseToDoubles(string name)
    {
        DotTile tile = DotKernelList.Get(name);
        var random = new Random(4);
        for (int height = 1; height <= tile.MaxRows; height++)
        {
            if (tile.Height(height) != height)
            {
                continue;
            }

            const int Groups = 36;
            using var operands = new Operands(tile, height, Groups);
            ushort* a = (ushort*)operands.A, b = (ushort*)operands.B;
            Fill(a, operands.BytesA / 2, random);
            Fill(b, operands.BytesB / 2, random);
            for (int i = 0; i < tile.Columns; i++)
            {
                ((float*)operands.Start)[i] = i;
            }

            tile.Run(height, Groups, operands.A, operands.B, operands.Start, operands.Sums);
            for (int i = 0; i < height * tile.Columns; i++)
            {
                int row = i / tile.Columns, column = i % tile.Columns;
                double sum = column;
                for (int k = 0; k < 2 * Groups; k++)
                {
                    ushort x = a[(((k / 2 * height) + row) * 2) + (k % 2)];
                    sum += Value(x) * Value(b[(((k / 2 * tile.Columns) + column) * 2) + (k % 2)]);
                }

                Assert.True(Math.Abs(((float*)operands.Sums)[i] - sum) < 1e-4, $"{name}, {height} rows: {i}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Int8))]
    [MemberData(nameof(Bf16))]
    public void TilesCoverAllRows(string name)
    {
        DotTile tile = DotKernelList.Get(name);
        for (int rows = 1; rows < 100; rows++)
        {
            int tiles = 0;
            for (int left = rows; left > 0; left -= tile.Height(left))
            {
                Assert.InRange(tile.Height(left), 1, tile.MaxRows);
                tiles++;
            }

            Assert.Equal((rows + tile.MaxRows - 1) / tile.MaxRows, tiles);
        }
    }

    private static void Fill(ushort* values, int count, Random random)
    {
        for (int i = 0; i < count; i++)
        {
            values[i] = Bf16Rows.Round((random.NextSingle() * 2) - 1);
        }
    }

    private static double Value(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    private sealed class Operands : IDisposable
    {
        public readonly int BytesA;
        public readonly int BytesB;
        public readonly byte* A;
        public readonly byte* B;
        public readonly int* Start;
        public readonly int* Sums;
        private readonly byte* memory;
        private readonly int count;

        public Operands(DotTile tile, int height, int groups)
        {
            BytesA = height * groups * 4;
            BytesB = tile.Columns * groups * 4;
            count = height * tile.Columns;
            memory = (byte*)NativeMemory.AlignedAlloc((nuint)(BytesB + (8 * tile.Columns) + (4 * count) + BytesA + 64), 64);
            B = memory;
            Start = (int*)(B + BytesB);
            Sums = Start + (2 * tile.Columns);
            A = (byte*)(Sums + count);
            for (int i = 0; i < tile.Columns; i++)
            {
                Start[i] = (i * 1_000_003) - 7_000_000;
            }
        }

        public void AssertSums(DotTile tile, int height, int groups)
        {
            new Span<int>(Sums, count).Fill(-1);
            tile.Run(height, groups, A, B, Start, Sums);
            for (int i = 0; i < count; i++)
            {
                int row = i / tile.Columns, column = i % tile.Columns;
                int sum = Start[column];
                for (int k = 0; k < 4 * groups; k++)
                {
                    byte x = A[(((k / 4 * height) + row) * 4) + (k % 4)];
                    sum += x * (sbyte)B[(((k / 4 * tile.Columns) + column) * 4) + (k % 4)];
                }

                string where = $"{tile.Name}, {height} rows, {groups} groups, at {row}, {column}";
                Assert.True(Sums[i] == sum, $"{where}: {Sums[i]}, not {sum}");
            }
        }

        public void Dispose() => NativeMemory.AlignedFree(memory);
    }
}
