using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Responses;

/// <summary>
/// The length of the few instructions that an event stops before and whose length the event does not carry: moves to
/// control registers, WRMSR, XSETBV, CLTS, LMSW of a register, hypercalls and port accesses.
/// </summary>
internal static class InstructionLength
{
    /// <summary>Longest instruction of the architecture in bytes.</summary>
    public const int Longest = 15;

    /// <summary>Reads the instruction at the event from the guest's memory.</summary>
    /// <returns>0 when it cannot be read, or is none of the known ones.</returns>
    public static int At(IGuestMemory memory, ref readonly VmEventRegisters registers)
    {
        var longMode = IsLongMode(in registers);
        var address = new GuestVirtual(longMode ? registers.Rip : (uint)(registers.CsBase + registers.Rip));
        var space = AddressSpace.FromControlRegisters(registers.Cr0, registers.Cr3, registers.Cr4, registers.MsrEfer);
        Span<byte> code = stackalloc byte[Longest];
        var inPage = Math.Min(Longest, Gfn.PageSize - (int)(address.Value & (Gfn.PageSize - 1)));
        try
        {
            // The next page may not be mapped, and need not be.
            memory.ReadVirtual(in space, address, code[..inPage]);
            var length = Decode(code[..inPage], longMode);
            if (length == 0 && inPage < Longest)
            {
                memory.ReadVirtual(in space, address + (ulong)inPage, code[inPage..]);
                length = Decode(code, longMode);
            }

            return length;
        }
        catch (HypervisorException)
        {
            return 0;
        }
    }

    /// <summary>Decodes an instruction.</summary>
    /// <returns>0 when it is none of the known ones, or longer than the bytes.</returns>
    public static int Decode(ReadOnlySpan<byte> code, bool longMode)
    {
        var at = 0;
        while (at < code.Length && IsPrefix(code[at], longMode))
        {
            at++;
        }

        if (at == code.Length)
        {
            return 0;
        }

        var rest = code[at] switch
        {
            >= 0x6c and <= 0x6f or >= 0xec and <= 0xef => 1,
            >= 0xe4 and <= 0xe7 => 2,
            0x0f when at + 1 < code.Length => TwoByte(code[(at + 1)..]),
            _ => 0,
        };
        return rest == 0 || at + rest > code.Length ? 0 : at + rest;
    }

    private static bool IsLongMode(ref readonly VmEventRegisters registers)
    {
        const ulong EferLma = 1UL << 10;
        const uint CodeLong = 1u << 9;
        return (registers.MsrEfer & EferLma) != 0 && (registers.Cs.AccessRights & CodeLong) != 0;
    }

    private static bool IsPrefix(byte value, bool longMode) => value switch
    {
        0x26 or 0x2e or 0x36 or 0x3e or 0x64 or 0x65 or 0x66 or 0x67 or 0xf0 or 0xf2 or 0xf3 => true,
        >= 0x40 and <= 0x4f => longMode,
        _ => false,
    };

    private static int TwoByte(ReadOnlySpan<byte> code) => code[0] switch
    {
        0x06 or 0x30 or 0xa2 => 2,
        0x20 or 0x22 => 3,
        0x01 when code.Length > 1 => code[1] switch
        {
            // VMCALL, XSETBV, VMMCALL, and LMSW of a register.
            0xc1 or 0xd1 or 0xd9 or (>= 0xf0 and <= 0xf7) => 3,
            _ => 0,
        },
        _ => 0,
    };
}
