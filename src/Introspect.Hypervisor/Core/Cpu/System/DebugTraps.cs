using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Debug conditions that are traps: single step, data and I/O breakpoints (Intel SDM vol. 3, 18.3.1).</summary>
internal static unsafe class DebugTraps
{
    private const uint SingleStep = 1 << 14;
    private const ulong Cr4De = 1 << 3;
    private const ulong IoBreakpoint = 2;

    /// <summary>
    /// What is due at the boundary after an instruction. True: a #DB is pending. After a load of SS it is held back:
    /// the step is forgotten, the breakpoints wait in <see cref="CpuState.PendingDebug"/> for the next boundary.
    /// "Stepped" says that TF was set when the instruction began.
    /// </summary>
    public static bool AtBoundary(CpuState* s, bool stepped)
    {
        if ((s->Shadow & CpuShadow.MovSs) != 0)
        {
            return false;
        }

        var due = stepped || (s->PendingDebug != 0 && s->PendingDebugEnabled);
        var bits = s->PendingDebug | (stepped ? SingleStep : 0);
        s->PendingDebug = 0;
        s->PendingDebugEnabled = false;
        if (s->Pending.Valid)
        {
            return JoinPending(s, due ? bits : 0);
        }

        if (!due)
        {
            return false;
        }

        Fault.Raise(s, Vector.Debug);
        s->Pending.Payload = bits;
        return true;
    }

    /// <summary>True for SYSCALL and SYSRET, whose step is by the TF that they leave, not the one that they began with.</summary>
    public static bool LooksAtNewTrapFlag(Code code) => code is Code.Syscall or Code.Sysretd or Code.Sysretq;

    /// <summary>The step of an instruction that <see cref="LooksAtNewTrapFlag"/>, when it is done.</summary>
    public static void StepByNewTrapFlag(CpuState* s)
    {
        if ((s->FlagsOther & RFlags.Tf) != 0)
        {
            s->Pending = new PendingEvent { Valid = true, Vector = Vector.Debug, Type = EventType.HardwareException, Payload = SingleStep };
        }
    }

    /// <summary>
    /// A task switch left an event for the new task: its T bit is a debug trap like these and joins them, a fault of
    /// its segments comes first.
    /// </summary>
    private static bool JoinPending(CpuState* s, uint bits)
    {
        if (s->Pending.Vector != Vector.Debug)
        {
            return false;
        }

        s->Pending.Payload |= bits;
        return true;
    }

    /// <summary>Collects the I/O breakpoints that a port access hits; they need CR4.DE.</summary>
    public static void MatchPort(CpuState* s, ushort port, int size)
    {
        if ((s->Cr4 & Cr4De) == 0)
        {
            return;
        }

        for (var n = 0; n < 4; n++)
        {
            var control = s->Dr7 >> (16 + (n * 4));
            if ((control & 3) != IoBreakpoint)
            {
                continue;
            }

            var length = ((control >> 2) & 3) switch
            {
                0 => 1u,
                1 => 2u,
                2 => 8u,
                _ => 4u,
            };
            var start = AddressOf(s, n) & ~(ulong)(length - 1);
            if (port < start + length && start < port + (uint)size)
            {
                s->PendingDebug |= 1u << n;
                s->PendingDebugEnabled |= ((s->Dr7 >> (n * 2)) & 3) != 0;
            }
        }
    }

    private static ulong AddressOf(CpuState* s, int n) => n switch
    {
        0 => s->Dr0,
        1 => s->Dr1,
        2 => s->Dr2,
        _ => s->Dr3,
    };
}
