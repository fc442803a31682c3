namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>
/// INT n, INT3, INTO and INT1: they leave a pending event for <see cref="EventDelivery"/> and return false, as
/// faults do, so that the run loop delivers it (or a monitor intercepts it) with RIP at the instruction.
/// </summary>
internal static unsafe class SoftwareInterrupts
{
    /// <summary>
    /// INT n. In virtual-8086 mode IOPL and, with VME, the redirection bitmap decide (Intel SDM vol. 3, table 21-2);
    /// true: the 8086 program's own handler was entered.
    /// </summary>
    public static bool Int(CpuState* s, byte vector, int length)
    {
        if ((s->FlagsOther & RFlags.Vm) == 0)
        {
            return Raise(s, vector, EventType.SoftwareInterrupt, length);
        }

        var trusted = IoPrivilege.Iopl(s) == 3;
        if (VirtualInterrupts.IsVme(s))
        {
            if (!VirtualInterrupts.Redirected(s, vector, out var redirected))
            {
                return false;
            }

            if (redirected)
            {
                return EnterVm86Handler(s, vector, length, trusted);
            }
        }

        return trusted ? Raise(s, vector, EventType.SoftwareInterrupt, length) : Fault.GeneralProtection(s, 0);
    }

    /// <summary>INT3 (opcode CC): like INT 3, but virtual-8086 mode does not restrict it.</summary>
    public static bool Int3(CpuState* s, int length) =>
        Raise(s, Vector.Breakpoint, EventType.SoftwareException, length);

    /// <summary>INTO: true when OF is clear and nothing happens. The caller has refused it in 64-bit mode (#UD by the decoder).</summary>
    public static bool Into(CpuState* s, int length)
    {
        if (CpuModes.Is64(s))
        {
            return Fault.InvalidOpcode(s);
        }

        return !Flags.Of(s) || Raise(s, Vector.Overflow, EventType.SoftwareException, length);
    }

    /// <summary>INT1 (opcode F1): a #DB that checks no DPL and writes no DR6.</summary>
    public static bool Int1(CpuState* s, int length) =>
        Raise(s, Vector.Debug, EventType.PrivilegedSoftwareException, length);

    private static bool Raise(CpuState* s, byte vector, EventType type, int length)
    {
        s->Pending = new PendingEvent { Valid = true, Vector = vector, Type = type, InsnLength = (uint)length };
        s->Stop = StopReason.Fault;
        return false;
    }

    private static bool EnterVm86Handler(CpuState* s, byte vector, int length, bool trusted)
    {
        // The vector table of the 8086 program is at its linear address 0 and read with its rights.
        if (!Access.Read(s, vector * 4u, 4, out var entry))
        {
            return false;
        }

        var flags = Flags.Read(s);
        return EventDelivery.EnterRealHandler(
            s,
            (uint)entry,
            Registers.NextRip(s, length),
            trusted ? flags : FlagInstructions.VirtualImage(flags),
            trusted ? RFlags.If : RFlags.Vif);
    }
}
