namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Writing general registers and RIP as the operand size and mode ask for.</summary>
internal static unsafe class Registers
{
    public const int Rax = 0;
    public const int Rcx = 1;
    public const int Rdx = 2;
    public const int Rsp = 4;
    public const int R11 = 11;

    /// <summary>16-bit writes keep the upper bits, 32-bit ones clear them.</summary>
    public static void Write(CpuState* s, int register, int size, ulong value) =>
        s->Gpr[register] = size switch
        {
            2 => (s->Gpr[register] & ~0xFFFFUL) | (ushort)value,
            4 => (uint)value,
            _ => value,
        };

    /// <summary>RIP of the instruction that follows one of the given length.</summary>
    public static ulong NextRip(CpuState* s, int length)
    {
        var next = s->Rip + (uint)length;
        return CpuModes.Is64(s) ? next : (uint)next;
    }

    /// <summary>Cuts a value to an operand size in bytes.</summary>
    public static ulong Truncate(ulong value, int size) => size switch
    {
        2 => (ushort)value,
        4 => (uint)value,
        _ => value,
    };
}
