using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Assembled;

public sealed unsafe class AssembledDotTests
{
    private const int Groups = 8;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BothConventionsKeepTheirRegistersAndGiveTheSameSums(bool windows)
    {
        if (!CpuFeatures.HasAvx512Vnni || !OperatingSystem.IsLinux())
        {
            return;
        }

        for (int rows = 1; rows <= AssembledDot.MaxRows; rows++)
        {
            byte* inner = ExecutablePage.Create(AssembledDot.Assemble(DotInstruction.Int8, rows, windows), out _);
            byte* outer = ExecutablePage.Create(ConventionCaller.Assemble(inner, windows), out _);
            using var memory = new Buffers(rows);
            var expected = new int[rows * AssembledDot.Columns];
            fixed (int* sums = expected)
            {
                new Int8TilePortable(rows, AssembledDot.Columns).Run(rows, Groups, memory.A, memory.B, memory.Start, sums);
            }

            ((delegate* unmanaged<AssembledTile.Arguments*, ulong*, void>)outer)(memory.Arguments, memory.Registers);
            Assert.Equal(expected, new ReadOnlySpan<int>(memory.Sums, expected.Length).ToArray());
            ConventionCaller.AssertKept(memory.Registers, windows);
        }
    }

    private sealed class Buffers : IDisposable
    {
        private readonly byte* memory = (byte*)NativeMemory.AlignedAlloc(16384, 64);

        public Buffers(int rows)
        {
            new Random(rows).NextBytes(new Span<byte>(memory, 16384));
            nint rounds = Groups / DotTile.GroupMultiple;
            *Arguments = new AssembledTile.Arguments { Rounds = rounds, A = A, B = B, Start = Start, Sums = Sums };
        }

        public byte* B => memory;

        public byte* A => memory + 2048;

        public int* Start => (int*)(memory + 4096);

        public int* Sums => (int*)(memory + 8192);

        public AssembledTile.Arguments* Arguments => (AssembledTile.Arguments*)(memory + 12288);

        public ulong* Registers => (ulong*)(memory + 12800);

        public void Dispose() => NativeMemory.AlignedFree(memory);
    }
}
