namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>How the delivery of an event ended.</summary>
internal enum DeliveryResult
{
    /// <summary>RIP is at the handler's first instruction.</summary>
    Delivered,

    /// <summary>
    /// Delivery raised an exception that is intercepted: it is pending, combined with the first event where the rules
    /// say so, and the caller decides whether to call again.
    /// </summary>
    Fault,

    /// <summary>A nested page fault stopped the delivery: the exit is filled and the event is pending still.</summary>
    Exit,

    /// <summary>A fault in the delivery of a double fault. The exit is filled.</summary>
    TripleFault,
}

/// <summary>
/// Takes the pending event through the IDT or the interrupt vector table (Intel SDM vol. 3, chapter 6), and what
/// goes wrong on the way through the rules of double and triple faults (6.15, interrupt 8).
/// </summary>
internal static unsafe partial class EventDelivery
{
    private const uint ExternalBit = 1;
    private const uint IdtBit = 2;
    private const ulong DebugGeneralDetect = 1 << 13;

    // Bits of DR6 that are 0 when their condition holds: bus lock (11) and RTM (16).
    private const ulong Dr6ActiveLow = (1 << 11) | (1 << 16);
    private const ulong Dr6Breakpoints = 0xF;
    private const ulong Dr7GeneralDetect = 1 << 13;

    /// <summary>Delivers <see cref="CpuState.Pending"/>, and what its delivery raises.</summary>
    public static DeliveryResult Deliver(CpuState* s)
    {
        while (true)
        {
            var current = s->Pending;
            Latch(s, in current);
            s->Pending = default;
            s->Stop = StopReason.None;
            if (Attempt(s, in current))
            {
                s->Stop = StopReason.None;
                s->Shadow &= CpuShadow.Nmi;
                if (current.Type == EventType.Nmi)
                {
                    s->Shadow |= CpuShadow.Nmi;
                }

                if (!s->Pending.Valid)
                {
                    return DeliveryResult.Delivered;
                }

                continue; // the T bit of a task that a task gate led to
            }

            if (s->Stop == StopReason.Exit)
            {
                s->Pending = current;
                return DeliveryResult.Exit;
            }

            if (IsExternal(in current) && s->Pending.Vector is >= Vector.InvalidTss and <= Vector.GeneralProtection)
            {
                s->Pending.ErrorCode |= ExternalBit;
            }

            if (!DoubleFaults.Combine(s, in current))
            {
                s->Pending = default;
                s->Exit = new Exit { Kind = ExitKind.TripleFault };
                s->Stop = StopReason.Exit;
                return DeliveryResult.TripleFault;
            }

            if (s->Pending.Vector == Vector.PageFault && (s->Intercepts & Intercepts.PageFault) != 0)
            {
                return DeliveryResult.Fault;
            }
        }
    }

    /// <summary>True for events that are no act of the program: error codes get EXT, gates' DPL does not matter.</summary>
    private static bool IsExternal(in PendingEvent e) =>
        e.Type is not (EventType.SoftwareInterrupt or EventType.SoftwareException);

    /// <summary>CR2 and DR6, which are written before anything can fail.</summary>
    private static void Latch(CpuState* s, in PendingEvent e)
    {
        if (e.Type != EventType.HardwareException)
        {
            return;
        }

        if (e.Vector == Vector.PageFault)
        {
            s->Cr2 = e.Payload;
        }
        else if (e.Vector == Vector.Debug)
        {
            var dr6 = (s->Dr6 & ~Dr6Breakpoints) | Dr6ActiveLow | e.Payload;
            s->Dr6 = dr6 ^ (e.Payload & Dr6ActiveLow);
            s->Dr7 &= ~Dr7GeneralDetect;
        }
    }

    private static bool Attempt(CpuState* s, in PendingEvent e) =>
        (s->Cr0 & CpuModes.Cr0Pe) == 0 ? ThroughVectorTable(s, e.Vector, ReturnRip(s, in e))
        : CpuModes.IsLongMode(s) ? ThroughLongGate(s, in e)
        : ThroughIdt(s, in e);

    /// <summary>Software events return behind their instruction, all others to RIP.</summary>
    private static ulong ReturnRip(CpuState* s, in PendingEvent e) =>
        e.Type is EventType.SoftwareInterrupt or EventType.SoftwareException or EventType.PrivilegedSoftwareException
            ? Registers.NextRip(s, (int)e.InsnLength)
            : s->Rip;

    /// <summary>
    /// The flags that are saved: RF is set for faults, so that an instruction breakpoint does not hit again, but not
    /// for the breakpoint's own #DB, traps and aborts (Intel SDM vol. 3, 18.3.1.1).
    /// </summary>
    private static uint FlagsImage(CpuState* s, in PendingEvent e)
    {
        var fault = e.Type == EventType.HardwareException && e.Vector switch
        {
            Vector.Debug => (e.Payload & DebugGeneralDetect) != 0,
            Vector.Breakpoint or Vector.Overflow or Vector.DoubleFault or Vector.MachineCheck => false,
            _ => true,
        };
        return Flags.Read(s) | (fault ? RFlags.Rf : 0);
    }

    /// <summary>Real mode: four bytes a vector, FLAGS, CS and IP on the stack, never an error code.</summary>
    private static bool ThroughVectorTable(CpuState* s, byte vector, ulong returnRip)
    {
        if ((vector * 4u) + 3 > s->IdtrLimit)
        {
            return Fault.GeneralProtection(s, (vector * 8u) | IdtBit);
        }

        return Access.ReadSystem(s, s->IdtrBase + (vector * 4u), 4, out var entry)
            && EnterRealHandler(s, (uint)entry, returnRip, Flags.Read(s), RFlags.If);
    }

    /// <summary>
    /// Enters a handler in real or virtual-8086 mode: segment and offset as the vector table has them, the image of
    /// the flags that is pushed, and the interrupt flag that the handler starts without (IF, or VIF in its place).
    /// </summary>
    internal static bool EnterRealHandler(CpuState* s, uint entry, ulong returnRip, uint flags, uint interruptFlag)
    {
        var stack = Stack.Current(s);
        var offset = (ushort)entry;
        if (!stack.HasRoom(3, 2)
            || !CodeSegments.CheckRealOffset(s, offset)
            || !stack.Push(2, flags)
            || !stack.Push(2, s->Seg(SegmentIndex.Cs)->Selector)
            || !stack.Push(2, returnRip))
        {
            return false;
        }

        stack.Commit();
        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        Flags.Write(s, 0, interruptFlag | RFlags.Tf | RFlags.Rf | (vm86 ? 0 : RFlags.Ac));
        return CodeSegments.EnterReal(s, (ushort)(entry >> 16), offset);
    }

    /// <summary>Reads a gate of the IDT and checks its type and, for software events, its DPL.</summary>
    private static bool ReadGate(CpuState* s, in PendingEvent e, out Descriptor gate)
    {
        gate = default;
        var longMode = CpuModes.IsLongMode(s);
        var size = longMode ? 16u : 8u;
        var offset = e.Vector * size;
        var error = (e.Vector * 8u) | IdtBit;
        if (offset + size - 1 > s->IdtrLimit)
        {
            return Fault.GeneralProtection(s, error);
        }

        var address = s->IdtrBase + offset;
        ulong high = 0;
        if (!Access.ReadSystem(s, address, 8, out var low)
            || (longMode && !Access.ReadSystem(s, address + 8, 8, out high)))
        {
            return false;
        }

        gate = new Descriptor(low, (uint)high, address);
        var known = gate.IsSystem && gate.SystemType switch
        {
            SystemType.InterruptGate or SystemType.TrapGate => true,
            SystemType.InterruptGate16 or SystemType.TrapGate16 or SystemType.TaskGate => !longMode,
            _ => false,
        };
        if (!known || (!IsExternal(in e) && gate.Dpl < s->Cpl))
        {
            return Fault.GeneralProtection(s, error);
        }

        return gate.IsPresent || Fault.Raise(s, Vector.SegmentNotPresent, error);
    }

    /// <summary>What the handler starts without: TF, NT, RF, VM, and through an interrupt gate IF.</summary>
    private static void ClearFlags(CpuState* s, in Descriptor gate)
    {
        var interruptGate = ((int)gate.SystemType & 1) == 0;
        Flags.Write(s, 0, RFlags.Tf | RFlags.Nt | RFlags.Rf | RFlags.Vm | (interruptGate ? RFlags.If : 0));
    }
}
