namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>The dynamic part of a task as its TSS has it, 16-bit or 32-bit (Intel SDM vol. 3, figures 8-2 and 8-10).</summary>
internal unsafe struct TaskImage
{
    /// <summary>Smallest limits that a TSS may have.</summary>
    public const uint MinimumLimit32 = 103;
    public const uint MinimumLimit16 = 43;

    private const uint Cr3At = 28;
    private const uint First32 = 32;
    private const uint Last32 = 92;
    private const uint LdtAt32 = 96;
    private const uint TrapAt = 100;
    private const uint First16 = 14;
    private const uint Last16 = 40;
    private const uint LdtAt16 = 42;

    public uint Cr3;
    public uint Eip;
    public uint Eflags;

    /// <summary>EAX ECX EDX EBX ESP EBP ESI EDI.</summary>
    public fixed uint Gpr[8];

    /// <summary>ES CS SS DS FS GS.</summary>
    public fixed ushort Selector[6];

    public ushort Ldt;
    public bool Trap;

    /// <summary>First and last byte that an outgoing task is saved to.</summary>
    public static (uint First, uint Last) SavedRange(bool wide) => wide ? (First32, Last32 + 3) : (First16, Last16 + 1);

    /// <summary>Reads a task in.</summary>
    public bool Read(CpuState* s, ulong tss, bool wide)
    {
        // EIP, EFLAGS, the general registers and the segments follow each other; a 16-bit TSS has four segments.
        var size = wide ? 4u : 2u;
        var at = tss + (wide ? First32 : First16);
        var words = stackalloc uint[16];
        var count = wide ? 16 : 14;
        for (var n = 0; n < count; n++)
        {
            if (!Access.ReadSystem(s, at + ((uint)n * size), (int)size, out var word))
            {
                return false;
            }

            words[n] = (uint)word;
        }

        if (!Access.ReadSystem(s, tss + (wide ? LdtAt32 : LdtAt16), 2, out var ldt))
        {
            return false;
        }

        ulong cr3 = 0;
        ulong trap = 0;
        if (wide && (!Access.ReadSystem(s, tss + Cr3At, 4, out cr3) || !Access.ReadSystem(s, tss + TrapAt, 2, out trap)))
        {
            return false;
        }

        Eip = words[0];
        Eflags = words[1];
        for (var n = 0; n < 8; n++)
        {
            // The upper halves that a 16-bit TSS does not have come out as ones.
            Gpr[n] = wide ? words[2 + n] : words[2 + n] | 0xFFFF0000;
        }

        for (var n = 0; n < 6; n++)
        {
            Selector[n] = 10 + n < count ? (ushort)words[10 + n] : (ushort)0;
        }

        Ldt = (ushort)ldt;
        Cr3 = (uint)cr3;
        Trap = (trap & 1) != 0;
        return true;
    }

    /// <summary>Saves the running task.</summary>
    public static bool Save(CpuState* s, ulong tss, bool wide, uint eip, uint eflags)
    {
        var size = wide ? 4u : 2u;
        var at = tss + (wide ? First32 : First16);
        var segments = wide ? 6 : 4;
        for (var n = 0; n < 10 + segments; n++)
        {
            ulong value = n switch
            {
                0 => eip,
                1 => eflags,
                < 10 => s->Gpr[n - 2],
                _ => s->Seg((SegmentIndex)(n - 10))->Selector,
            };

            // Of a selector only its 2 bytes are stored.
            var width = n >= 10 ? 2 : (int)size;
            if (!Access.WriteSystem(s, at + ((uint)n * size), width, value))
            {
                return false;
            }
        }

        return true;
    }
}
