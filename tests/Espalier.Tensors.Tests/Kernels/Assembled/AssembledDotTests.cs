using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Espalier.Tensors.Tests.Kernels.Assembled;

/// <summary>The code for Windows cannot be called from .NET on Linux, so a few instructions around it translate: they fill the
/// registers that the Windows convention says are to be kept, call, and write down what came back.</summary>
public sealed unsafe class AssembledDotTests
{
    private const int Groups = 8;

    private static readonly AssemblerRegister64[] KeptGeneral = [rbx, rbp, rdi, rsi, r12, r13, r14, r15];
    private static readonly AssemblerRegisterXMM[] KeptVectors =
        [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

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
            byte* outer = ExecutablePage.Create(Caller(inner, windows), out _);
            using var memory = new Buffers(rows);
            var expected = new int[rows * AssembledDot.Columns];
            fixed (int* sums = expected)
            {
                new Int8TileReference(rows, AssembledDot.Columns).Run(rows, Groups, memory.A, memory.B, memory.Start, sums);
            }

            ((delegate* unmanaged<AssembledTile.Arguments*, ulong*, void>)outer)(memory.Arguments, memory.Registers);
            Assert.Equal(expected, new ReadOnlySpan<int>(memory.Sums, expected.Length).ToArray());
            int general = windows ? KeptGeneral.Length : 6, vectors = windows ? KeptVectors.Length : 0;
            for (int i = 0; i < general; i++)
            {
                Assert.Equal(1000ul + (ulong)i, memory.Registers[i]);
            }

            for (int i = 0; i < vectors; i++)
            {
                Assert.Equal(2000ul + (ulong)i, memory.Registers[general + i]);
            }
        }
    }

    // void f(arguments, ulong* registers), System V outside.
    private static byte[] Caller(byte* target, bool windows)
    {
        AssemblerRegister64[] general = windows ? KeptGeneral : [rbx, rbp, r12, r13, r14, r15];
        var code = new Assembler(64);
        AssemblerRegister64[] own = [rbx, rbp, r12, r13, r14, r15];
        foreach (AssemblerRegister64 register in own)
        {
            code.push(register);
        }

        code.push(rsi);
        code.sub(rsp, 32);
        if (windows)
        {
            code.mov(rcx, rdi);
        }

        for (int i = 0; i < general.Length; i++)
        {
            code.mov(general[i], 1000 + i);
        }

        for (int i = 0; windows && i < KeptVectors.Length; i++)
        {
            code.mov(rax, 2000 + i);
            code.vmovq(KeptVectors[i], rax);
        }

        code.mov(rax, (ulong)target);
        code.call(rax);
        code.mov(rax, __qword_ptr[rsp + 32]);
        for (int i = 0; i < general.Length; i++)
        {
            code.mov(__qword_ptr[rax + (8 * i)], general[i]);
        }

        for (int i = 0; windows && i < KeptVectors.Length; i++)
        {
            code.vmovq(__qword_ptr[rax + (8 * (general.Length + i))], KeptVectors[i]);
        }

        code.add(rsp, 40);
        foreach (AssemblerRegister64 register in own.Reverse())
        {
            code.pop(register);
        }

        code.ret();
        using var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
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
