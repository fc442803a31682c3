using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor;

/// <summary>An event to enable or disable, with its options (<c>XEN_DOMCTL_MONITOR_EVENT_*</c>).</summary>
public abstract record MonitorEvent
{
    private MonitorEvent()
    {
    }

    /// <summary>Writes of CR0, CR3, CR4 or XCR0.</summary>
    /// <param name="Register">Which register.</param>
    /// <param name="Sync">The vCPU waits for the response.</param>
    /// <param name="OnChangeOnly">Only writes that change the value.</param>
    /// <param name="WatchMask">Bits whose change matters; Xen's own bitmask (bits to ignore) is the complement.</param>
    public sealed record ControlRegister(ControlRegisterIndex Register, bool Sync = true, bool OnChangeOnly = false, ulong WatchMask = ~0UL) : MonitorEvent;

    /// <summary>Writes of one MSR; always sync.</summary>
    /// <param name="Number">MSR number.</param>
    /// <param name="OnChangeOnly">Only writes that change the value.</param>
    public sealed record Msr(uint Number, bool OnChangeOnly = false) : MonitorEvent;

    /// <summary>Single stepping may be asked for in responses, and steps are reported.</summary>
    public sealed record SingleStep : MonitorEvent;

    /// <summary>int3 and other software exceptions.</summary>
    public sealed record SoftwareBreakpoint : MonitorEvent;

    /// <summary>Requests of the guest itself.</summary>
    /// <param name="Sync">The vCPU waits for the response.</param>
    /// <param name="AllowUserspace">CPL 3 may ask, too.</param>
    public sealed record GuestRequest(bool Sync = true, bool AllowUserspace = false) : MonitorEvent;

    /// <summary>#DB exceptions.</summary>
    /// <param name="Sync">The vCPU waits for the response.</param>
    public sealed record DebugException(bool Sync = true) : MonitorEvent;

    /// <summary>CPUID instructions.</summary>
    public sealed record Cpuid : MonitorEvent;

    /// <summary>Accesses to GDTR, IDTR, LDTR and TR.</summary>
    public sealed record DescriptorAccess : MonitorEvent;

    /// <summary>Instructions that the emulator has no code for.</summary>
    public sealed record EmulUnimplemented : MonitorEvent;

    /// <summary>Suppresses memory access events that a page-table walk causes.</summary>
    public sealed record InguestPagefault : MonitorEvent;

    /// <summary>Every vmexit.</summary>
    /// <param name="Sync">The exit is not handled and the vCPU waits: for guests which are reset afterwards.</param>
    /// <param name="Strict">
    /// Refuse with EBUSY, when it is enabled or disabled, while vmexit events of before are unanswered. Without it they
    /// stay in the ring, can be answered, and the core counts their answers as stale.
    /// </param>
    public sealed record VmExit(bool Sync = false, bool Strict = false) : MonitorEvent;

    /// <summary>Port input and output (Xen 4.18).</summary>
    /// <param name="Sync">The vCPU waits for the response.</param>
    public sealed record IoInstruction(bool Sync = true) : MonitorEvent;
}

/// <summary>What can be monitored: one bit an event (<c>1 &lt;&lt; XEN_DOMCTL_MONITOR_EVENT_*</c>).</summary>
[Flags]
public enum MonitorCapabilities : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Control-register writes.</summary>
    WriteCtrlreg = 1 << 0,

    /// <summary>MSR writes.</summary>
    MovToMsr = 1 << 1,

    /// <summary>Single steps.</summary>
    Singlestep = 1 << 2,

    /// <summary>Software breakpoints.</summary>
    SoftwareBreakpoint = 1 << 3,

    /// <summary>Guest requests.</summary>
    GuestRequest = 1 << 4,

    /// <summary>Debug exceptions.</summary>
    DebugException = 1 << 5,

    /// <summary>CPUID.</summary>
    Cpuid = 1 << 6,

    /// <summary>Privileged calls (Arm).</summary>
    PrivilegedCall = 1 << 7,

    /// <summary>Next interrupt.</summary>
    Interrupt = 1 << 8,

    /// <summary>Descriptor accesses.</summary>
    DescriptorAccess = 1 << 9,

    /// <summary>Unimplemented emulation.</summary>
    EmulUnimplemented = 1 << 10,

    /// <summary>Suppression of events of page-table walks.</summary>
    InguestPagefault = 1 << 11,

    /// <summary>vmexits.</summary>
    VmExit = 1 << 12,

    /// <summary>Port input and output.</summary>
    IoInstruction = 1 << 13,
}
