using System.Numerics;
using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Bits of RFLAGS.</summary>
internal static class RFlags
{
    public const uint Cf = 1 << 0;
    public const uint Fixed1 = 1 << 1;
    public const uint Pf = 1 << 2;
    public const uint Af = 1 << 4;
    public const uint Zf = 1 << 6;
    public const uint Sf = 1 << 7;
    public const uint Tf = 1 << 8;
    public const uint If = 1 << 9;
    public const uint Df = 1 << 10;
    public const uint Of = 1 << 11;
    public const uint Iopl = 3 << 12;
    public const int IoplShift = 12;
    public const uint Nt = 1 << 14;
    public const uint Rf = 1 << 16;
    public const uint Vm = 1 << 17;
    public const uint Ac = 1 << 18;
    public const uint Vif = 1 << 19;
    public const uint Vip = 1 << 20;
    public const uint Id = 1 << 21;

    public const uint Arithmetic = Cf | Pf | Af | Zf | Sf | Of;

    /// <summary>Every bit that exists.</summary>
    public const uint All = Arithmetic | Fixed1 | Tf | If | Df | Iopl | Nt | Rf | Vm | Ac | Vif | Vip | Id;
}

/// <summary>
/// The six arithmetic flags, kept as what the last operation left: its sign-extended result, and a word with
/// CF in bit 31, CF xor OF in bit 30, AF in bit 3, a parity correction in bits 8–15 and a sign correction in
/// bit 0. Storing them costs two writes; a flag is computed only when somebody looks.
/// </summary>
internal static unsafe class Flags
{
    private const uint AuxKept = 0xC0000008;

    /// <summary>Carry vector of an addition or subtraction to the aux word, for an operand size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Aux<T>(ulong carries)
        where T : unmanaged
    {
        if (sizeof(T) == 8)
        {
            return ((uint)(carries >> 32) & 0xC0000000) | ((uint)carries & 8);
        }

        if (sizeof(T) == 4)
        {
            return (uint)carries & AuxKept;
        }

        return sizeof(T) == 2
            ? (((uint)carries << 16) & 0xC0000000) | ((uint)carries & 8)
            : (((uint)carries << 24) & 0xC0000000) | ((uint)carries & 8);
    }

    /// <summary>Sign-extends the low bits of a value.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong SignExtend<T>(ulong value)
        where T : unmanaged
    {
        if (sizeof(T) == 8)
        {
            return value;
        }

        if (sizeof(T) == 4)
        {
            return (ulong)(int)value;
        }

        return sizeof(T) == 2 ? (ulong)(short)value : (ulong)(sbyte)value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetAdd<T>(CpuState* s, ulong a, ulong b, ulong result)
        where T : unmanaged
    {
        s->FlagsResult = SignExtend<T>(result);
        s->FlagsAux = Aux<T>((a & b) | ((a | b) & ~result));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetSub<T>(CpuState* s, ulong a, ulong b, ulong result)
        where T : unmanaged
    {
        s->FlagsResult = SignExtend<T>(result);
        s->FlagsAux = Aux<T>((~a & b) | (~(a ^ b) & result));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetLogic<T>(CpuState* s, ulong result)
        where T : unmanaged
    {
        s->FlagsResult = SignExtend<T>(result);
        s->FlagsAux = 0;
    }

    /// <summary>INC and DEC: all but CF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetIncDec<T>(CpuState* s, ulong carries, ulong result)
        where T : unmanaged
    {
        var aux = Aux<T>(carries);

        // Put the old CF back and flip "CF xor OF" with it, so that OF stays the new one.
        var delta = (aux ^ s->FlagsAux) & 0x80000000;
        s->FlagsAux = aux ^ delta ^ (delta >> 1);
        s->FlagsResult = SignExtend<T>(result);
    }

    /// <summary>Sets SF, ZF and PF from a result, and CF and OF as told; AF is cleared.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetResult<T>(CpuState* s, ulong result, bool cf, bool of)
        where T : unmanaged
    {
        s->FlagsResult = SignExtend<T>(result);
        s->FlagsAux = (cf ? 0x80000000u : 0) | (cf != of ? 0x40000000u : 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Cf(CpuState* s) => (int)s->FlagsAux < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Zf(CpuState* s) => s->FlagsResult == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Sf(CpuState* s) => ((s->FlagsResult >> 63) ^ (s->FlagsAux & 1)) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Of(CpuState* s) => (int)(s->FlagsAux + 0x40000000) < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Af(CpuState* s) => (s->FlagsAux & 8) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Pf(CpuState* s) => (BitOperations.PopCount((byte)(s->FlagsResult ^ (s->FlagsAux >> 8))) & 1) == 0;

    /// <summary>Sets CF alone.</summary>
    public static void SetCf(CpuState* s, bool cf)
    {
        var delta = (s->FlagsAux ^ (cf ? 0x80000000u : 0)) & 0x80000000;
        s->FlagsAux ^= delta ^ (delta >> 1);
    }

    /// <summary>Sets OF alone.</summary>
    public static void SetOf(CpuState* s, bool of)
    {
        if (Of(s) != of)
        {
            s->FlagsAux ^= 0x40000000;
        }
    }

    /// <summary>RFLAGS as software sees it.</summary>
    public static uint Read(CpuState* s) => s->FlagsOther | ReadArithmetic(s);

    /// <summary>The six arithmetic flags.</summary>
    public static uint ReadArithmetic(CpuState* s) =>
        (Cf(s) ? RFlags.Cf : 0) | (Pf(s) ? RFlags.Pf : 0) | (Af(s) ? RFlags.Af : 0)
        | (Zf(s) ? RFlags.Zf : 0) | (Sf(s) ? RFlags.Sf : 0) | (Of(s) ? RFlags.Of : 0);

    /// <summary>Writes the bits of RFLAGS that the mask names. The caller calls <see cref="CpuModes.Update"/> if VM or AC changed.</summary>
    public static void Write(CpuState* s, uint value, uint mask)
    {
        var others = mask & ~RFlags.Arithmetic & RFlags.All;
        s->FlagsOther = (s->FlagsOther & ~others) | (value & others) | RFlags.Fixed1;
        if ((mask & RFlags.Arithmetic) != 0)
        {
            WriteArithmetic(s, (ReadArithmetic(s) & ~mask) | (value & mask & RFlags.Arithmetic));
        }
    }

    /// <summary>Sets the six arithmetic flags.</summary>
    public static void WriteArithmetic(CpuState* s, uint flags)
    {
        // ZF decides the result; parity and sign are then corrected against it.
        var zf = (flags & RFlags.Zf) != 0;
        var result = zf ? 0UL : 1UL;
        var parityOfResult = zf; // 0 has even parity, 1 odd
        var wantParity = (flags & RFlags.Pf) != 0;
        var cf = (flags & RFlags.Cf) != 0;
        var of = (flags & RFlags.Of) != 0;
        s->FlagsResult = result;
        s->FlagsAux = (cf ? 0x80000000u : 0) | (cf != of ? 0x40000000u : 0)
            | ((flags & RFlags.Af) != 0 ? 8u : 0)
            | ((flags & RFlags.Sf) != 0 ? 1u : 0)
            | (parityOfResult != wantParity ? 0x100u : 0);
    }
}
