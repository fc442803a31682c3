using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>
/// One thing that the demo guest is written to do and that a monitor may see. Which of them arrive as events
/// depends on what is monitored; those that do arrive in this order, with these values.
/// </summary>
internal sealed record DemoAct
{
    /// <summary>The reason of the event; <see cref="VmEventReason.VmExit"/> for what is only a vmexit.</summary>
    public required VmEventReason Reason { get; init; }

    /// <summary>Reason of the vmexit in VMX's numbering, where the act is intercepted.</summary>
    public required uint VmxExitReason { get; init; }

    /// <summary>Address of the instruction.</summary>
    public ulong Rip { get; init; }

    /// <summary>The instruction's length, where the event tells it.</summary>
    public uint InsnLength { get; init; }

    /// <summary>Register of a control-register write.</summary>
    public ControlRegisterIndex ControlRegister { get; init; }

    /// <summary>Number of a written (or, for a mere vmexit, read) MSR.</summary>
    public uint Msr { get; init; }

    /// <summary>Value before the write.</summary>
    public ulong Old { get; init; }

    /// <summary>Value written.</summary>
    public ulong New { get; init; }

    /// <summary>EAX before CPUID.</summary>
    public uint Leaf { get; init; }

    /// <summary>ECX before CPUID.</summary>
    public uint Subleaf { get; init; }

    /// <summary>Page of a breakpoint or an access.</summary>
    public Gfn Gfn { get; init; }

    /// <summary>Linear address of an access; its low 12 bits are the offset in the page.</summary>
    public ulong Gla { get; init; }

    /// <summary>What kind of access, of a memory access.</summary>
    public MemAccessFlags Access { get; init; }

    /// <summary>Register of a descriptor-table access, which is always a load here.</summary>
    public DescriptorRegister Descriptor { get; init; }

    /// <summary>Port of an I/O instruction of one byte.</summary>
    public ushort Port { get; init; }

    /// <summary>The I/O instruction is an IN.</summary>
    public bool PortInput { get; init; }

    /// <summary>The act is done at CPL 3.</summary>
    public bool UserMode { get; init; }

    /// <summary>What the act writes to the console, if it does.</summary>
    public string? ConsoleText { get; init; }
}

/// <summary>Reasons of vmexits in VMX's numbering (Intel SDM, appendix C).</summary>
internal static class VmxExitReasons
{
    public const uint Exception = 0;
    public const uint Cpuid = 10;
    public const uint Vmcall = 18;
    public const uint ControlRegister = 28;
    public const uint Io = 30;
    public const uint Rdmsr = 31;
    public const uint Wrmsr = 32;
    public const uint DescriptorTable = 46;
    public const uint TaskRegister = 47;
    public const uint EptViolation = 48;
}
