using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Espalier.Tensors.Tests.Kernels.Assembled;

/// <summary>The code for Windows cannot be called from .NET on Linux, so a few instructions around it translate: they fill the
/// registers that the convention says are to be kept, call, and write down what came back.</summary>
internal static unsafe class ConventionCaller
{
    private static readonly AssemblerRegister64[] KeptGeneral = [rbx, rbp, rdi, rsi, r12, r13, r14, r15];
    private static readonly AssemblerRegisterXMM[] KeptVectors =
        [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    /// <summary>Fails unless every register that was to be kept came back as it was filled.</summary>
    public static void AssertKept(ulong* registers, bool windows)
    {
        int general = windows ? KeptGeneral.Length : 6, vectors = windows ? KeptVectors.Length : 0;
        for (int i = 0; i < general; i++)
        {
            Assert.Equal(1000ul + (ulong)i, registers[i]);
        }

        for (int i = 0; i < vectors; i++)
        {
            Assert.Equal(2000ul + (ulong)i, registers[general + i]);
        }
    }

    /// <summary>The code of void f(arguments, ulong* registers), System V outside.</summary>
    public static byte[] Assemble(byte* target, bool windows)
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
}
