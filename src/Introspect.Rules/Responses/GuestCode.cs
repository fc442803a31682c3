using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Responses;

/// <summary>Reads the instruction of an event from the guest's memory, without the breakpoints that the pump put there.</summary>
internal static class GuestCode
{
    /// <summary>Reads as much of the instruction as is mapped.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="registers">Where the vCPU is.</param>
    /// <param name="breakpoints">What is not the guest's.</param>
    /// <param name="code">Receives at most 15 bytes.</param>
    /// <returns>How many bytes were read.</returns>
    public static int Read(IGuestMemory memory, ref readonly VmEventRegisters registers, BreakpointTable breakpoints, Span<byte> code)
    {
        var space = AddressSpace.FromControlRegisters(registers.Cr0, registers.Cr3, registers.Cr4, registers.MsrEfer);
        var address = new GuestVirtual(IsLongMode(in registers) ? registers.Rip : (uint)(registers.CsBase + registers.Rip));
        code = code[..Math.Min(code.Length, InstructionLength.Longest)];
        var read = 0;
        try
        {
            while (read < code.Length && memory.TryTranslate(in space, address + (ulong)read, out var physical))
            {
                var part = code[read..Math.Min(code.Length, read + Gfn.PageSize - physical.PageOffset)];
                memory.ReadPhysical(physical, part);
                breakpoints.Unmask(physical.Value, part);
                read += part.Length;
            }
        }
        catch (HypervisorException)
        {
            // What is behind the last page need not be there.
        }

        return read;
    }

    /// <summary>
    /// True for an instruction in which a vCPU may wait for others: HLT, MWAIT, and hypercalls, of which some block.
    /// Who steps over it must not hold the others.
    /// </summary>
    public static bool MayWait(ReadOnlySpan<byte> code)
    {
        while (!code.IsEmpty && (code[0] is 0x26 or 0x2e or 0x36 or 0x3e or (>= 0x64 and <= 0x67) or 0xf2 or 0xf3 || (code[0] & 0xf0) == 0x40))
        {
            // 40-4f are no prefixes outside of long mode, where a one-byte INC or DEC never comes before one of these
            // in the same instruction: at worst the others are not held.
            code = code[1..];
        }

        return code is [0xf4, ..] or [0x0f, 0x01, 0xc1 or 0xc9 or 0xd9 or 0xfb, ..];
    }

    private static bool IsLongMode(ref readonly VmEventRegisters registers)
    {
        const ulong EferLma = 1UL << 10;
        const uint CodeLong = 1u << 9;
        return (registers.MsrEfer & EferLma) != 0 && (registers.Cs.AccessRights & CodeLong) != 0;
    }
}
