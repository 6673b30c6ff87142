using Iced.Intel;
using static Espalier.Tensors.Kernels.AssembledFrame;
using static Iced.Intel.AssemblerRegisters;
using Slot = Espalier.Tensors.Kernels.ConvTile.Slot;

namespace Espalier.Tensors.Kernels;

/// <summary>How a <see cref="ConvTile"/> of codes ends: what <see cref="CodesEpilogue"/> does to sums, while they are in registers.
/// A number in steps is rounded by its conversion and cut by the packs to 16 and to 8 bits, which leave an output's bytes in quarters
/// of the register that a permutation puts side by side.</summary>
internal static class AssembledCodes
{
    private const int Vector = 64;
    private const int Lanes = 16;

    // Where the residual's groups of pixels lie, the scales of the outputs, and the numbers of the call.
    private static readonly AssemblerRegister64 Group1 = rdi, Group2 = rbx, Scale = rsi, Numbers = rcx;

    private static readonly AssemblerRegisterYMM[] Halves =
    [
        ymm16, ymm17, ymm18, ymm19, ymm20, ymm21, ymm22, ymm23, ymm24, ymm25, ymm26, ymm27, ymm28, ymm29, ymm30, ymm31,
        ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15,
    ];

    private static readonly AssemblerRegisterXMM[] Quarters =
    [
        xmm16, xmm17, xmm18, xmm19, xmm20, xmm21, xmm22, xmm23, xmm24, xmm25, xmm26, xmm27, xmm28, xmm29, xmm30, xmm31,
        xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15,
    ];

    /// <summary>Stores codes where the modes ask for them and goes to <paramref name="done"/>; else goes on.</summary>
    public static void Finish(Assembler code, int pixels, int vectors, Label done)
    {
        Label sums = code.CreateLabel(), added = code.CreateLabel();
        code.test(AssembledConv.Argument32(Slot.Modes), (int)ConvTile.Modes.Codes);
        code.je(sums);
        AssembledConv.Address(code, Slot.Y, Slot.Y2, Slot.RowY);
        code.mov(Numbers, AssembledConv.Argument(Slot.Numbers));
        code.mov(Scale, AssembledConv.Argument(Slot.Scale));
        code.vmovups(Order(pixels, vectors), __zmmword_ptr[Numbers]);
        code.test(AssembledConv.Argument32(Slot.Modes), (int)ConvTile.Modes.Added);
        code.jne(added);
        Round(code, pixels, vectors);
        code.jmp(done);
        code.Label(ref added);
        Add(code, pixels, vectors);
        code.jmp(done);
        code.Label(ref sums);
        code.nop();
    }

    private static AssemblerRegisterZMM Order(int pixels, int vectors) => Registers[3 + (pixels * vectors)];

    // To steps of the result; rounded; plus the zero point.
    private static void Round(Assembler code, int pixels, int vectors)
    {
        AssemblerRegisterZMM zero = Registers[0];
        code.vpbroadcastd(zero, __dword_ptr[At(ConvTile.Number.Zero)]);
        for (int v = 0; v < vectors; v++) code.vmovups(Registers[1 + v], __zmmword_ptr[Scale + (v * Vector)]);
        for (int pixel = 0; pixel < pixels; pixel++)
        {
            for (int v = 0; v < vectors; v++)
            {
                AssemblerRegisterZMM sum = Registers[3 + (pixel * vectors) + v];
                code.vcvtdq2ps(sum, sum);
                code.vmulps(sum, sum, Registers[1 + v]);
                code.vcvtps2dq(sum, sum);
            }

            Store(code, pixels, pixel, vectors, zero);
        }
    }

    // To a code of the convolution's own result, which is added to that of the residual as CodeSum does it.
    private static void Add(Assembler code, int pixels, int vectors)
    {
        AssemblerRegisterZMM other = Registers[0], rounder = Registers[1], step = Registers[2];
        code.vbroadcastss(rounder, __dword_ptr[At(ConvTile.Number.Rounder)]);
        code.vbroadcastss(step, __dword_ptr[At(ConvTile.Number.Other)]);
        // Pixels of the residual are as far apart as those of the result.
        code.mov(Group1, AssembledConv.Argument(Slot.Residual));
        code.mov(Group2, AssembledConv.Argument(Slot.Residual2));
        for (int pixel = 0; pixel < pixels; pixel++)
        {
            for (int v = 0; v < vectors; v++)
            {
                AssemblerRegisterZMM sum = Registers[3 + (pixel * vectors) + v];
                code.vcvtdq2ps(sum, sum);
                code.vmulps(sum, sum, __zmmword_ptr[Scale + (v * Vector)]);
                code.vmaxps(sum, sum, __dword_bcst[At(ConvTile.Number.Least)]);
                code.vminps(sum, sum, __dword_bcst[At(ConvTile.Number.Most)]);
                code.vaddps(sum, sum, rounder);
                code.vsubps(sum, sum, __dword_bcst[At(ConvTile.Number.Back)]);
                code.vpmovzxbd(other, __xmmword_ptr[AssembledConv.At(pixels, pixel, v * Lanes, Group1, Group2)]);
                code.vcvtdq2ps(other, other);
                code.vfmadd213ps(other, step, __dword_bcst[At(ConvTile.Number.Fixed)]);
                code.vfmadd132ps(sum, other, __dword_bcst[At(ConvTile.Number.Own)]);
                code.vcvtps2dq(sum, sum);
            }

            Store(code, pixels, pixel, vectors, null);
        }
    }

    // Bytes of 16 or 32 outputs: of each quarter of the register 4 bytes, or 4 of either vector.
    private static void Store(Assembler code, int pixels, int pixel, int vectors, AssemblerRegisterZMM? zero)
    {
        int first = 3 + (pixel * vectors);
        AssemblerRegisterZMM sum = Registers[first];
        AssemblerMemoryOperand y = AssembledConv.At(pixels, pixel, 0);
        code.vpackssdw(sum, sum, Registers[first + vectors - 1]);
        if (zero is { } added) code.vpaddsw(sum, sum, added);
        code.vpackuswb(sum, sum, sum);
        code.vpermd(sum, Order(pixels, vectors), sum);
        if (vectors == 2) code.vmovdqu32(__ymmword_ptr[y], Halves[first]);
        else code.vmovdqu32(__xmmword_ptr[y], Quarters[first]);
    }

    private static AssemblerMemoryOperand At(ConvTile.Number number) => Numbers + ConvTile.Place(number);
}
