namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Hardware breakpoints: what DR0–DR3 and DR7 arm (Intel SDM vol. 3, 18.2).</summary>
internal static unsafe class DebugRegisters
{
    private const int Execute = 0;
    private const int Write = 1;
    private const int ReadWrite = 3;

    /// <summary>Recomputes what is armed; called after a change to a debug register.</summary>
    public static void Update(CpuState* s)
    {
        var data = false;
        var execute = false;
        for (var n = 0; n < 4; n++)
        {
            if (IsEnabled(s, n))
            {
                var type = TypeOf(s, n);
                data |= type is Write or ReadWrite;
                execute |= type == Execute;
            }
        }

        s->SlowAccess = (s->SlowAccess & ~SlowAccessReasons.DataBreakpoints) | (data ? SlowAccessReasons.DataBreakpoints : 0);
        s->ExecuteBreakpoints = execute;
        CpuModes.SelectTlb(s);
    }

    /// <summary>Collects matches of a data access; the trap comes after the instruction.</summary>
    public static void MatchData(CpuState* s, ulong linear, int size, bool write)
    {
        for (var n = 0; n < 4; n++)
        {
            var type = TypeOf(s, n);
            if (type is Execute or 2 || (type == Write && !write))
            {
                continue;
            }

            var length = LengthOf(s, n);
            var start = AddressOf(s, n) & ~(length - 1);
            if (linear < start + length && start < linear + (uint)size)
            {
                s->PendingDebug |= 1u << n;
                s->PendingDebugEnabled |= IsEnabled(s, n);
            }
        }
    }

    /// <summary>DR6 bits of an instruction breakpoint at a linear address, 0 when none is enabled there.</summary>
    public static uint MatchExecute(CpuState* s, ulong linear)
    {
        uint hits = 0;
        var enabled = false;
        for (var n = 0; n < 4; n++)
        {
            if (TypeOf(s, n) == Execute && AddressOf(s, n) == linear)
            {
                hits |= 1u << n;
                enabled |= IsEnabled(s, n);
            }
        }

        return enabled ? hits : 0;
    }

    private static bool IsEnabled(CpuState* s, int n) => ((s->Dr7 >> (n * 2)) & 3) != 0;

    private static int TypeOf(CpuState* s, int n) => (int)(s->Dr7 >> (16 + (n * 4))) & 3;

    private static ulong LengthOf(CpuState* s, int n) => ((s->Dr7 >> (18 + (n * 4))) & 3) switch
    {
        0 => 1,
        1 => 2,
        2 => 8,
        _ => 4,
    };

    private static ulong AddressOf(CpuState* s, int n) => n switch
    {
        0 => s->Dr0,
        1 => s->Dr1,
        2 => s->Dr2,
        _ => s->Dr3,
    };
}
