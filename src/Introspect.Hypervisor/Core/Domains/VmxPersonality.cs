using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>Intel VT-x: exit reasons and qualifications of the Software Developer's Manual, volume 3, appendix C and chapter 28.</summary>
internal sealed class VmxPersonality : VendorPersonality
{
    /// <summary>Basic exit reasons.</summary>
    internal static class Reason
    {
        public const ulong ExceptionOrNmi = 0;
        public const ulong ExternalInterrupt = 1;
        public const ulong TripleFault = 2;
        public const ulong InterruptWindow = 7;
        public const ulong NmiWindow = 8;
        public const ulong Cpuid = 10;
        public const ulong Hlt = 12;
        public const ulong Invd = 13;
        public const ulong Invlpg = 14;
        public const ulong Rdtsc = 16;
        public const ulong Vmcall = 18;
        public const ulong ControlRegister = 28;
        public const ulong DebugRegister = 29;
        public const ulong IoInstruction = 30;
        public const ulong Rdmsr = 31;
        public const ulong Wrmsr = 32;
        public const ulong Mwait = 36;
        public const ulong MonitorTrapFlag = 37;
        public const ulong Pause = 40;
        public const ulong GdtrOrIdtr = 46;
        public const ulong LdtrOrTr = 47;
        public const ulong EptViolation = 48;
        public const ulong Rdtscp = 51;
        public const ulong Wbinvd = 54;
        public const ulong Xsetbv = 55;
        public const ulong Vmfunc = 59;
    }

    /// <inheritdoc/>
    public override CpuVendor Vendor => CpuVendor.Vmx;

    /// <inheritdoc/>
    public override MonitorCapabilities Capabilities => (MonitorCapabilities)0x1f7f;

    /// <inheritdoc/>
    public override bool HasMemAccess => true;

    /// <inheritdoc/>
    public override bool HasAltP2m => true;

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> HypercallInstruction => [0x0f, 0x01, 0xc1];

    /// <inheritdoc/>
    public override string CpuidVendor => "GenuineIntel";

    /// <inheritdoc/>
    public override VendorExit Translate(in Exit exit, ulong rip) => exit.Kind switch
    {
        ExitKind.Kick => new(Reason.ExternalInterrupt, 0, 0),
        ExitKind.Hlt => new(Reason.Hlt, 0, 0),
        ExitKind.Cpuid => new(Reason.Cpuid, 0, 0),
        ExitKind.CrWrite or ExitKind.CrRead => new(Reason.ControlRegister, CrQualification(exit), 0),
        ExitKind.MsrRead => new(Reason.Rdmsr, 0, 0),
        ExitKind.MsrWrite => new(Reason.Wrmsr, 0, 0),
        ExitKind.Io => new(Reason.IoInstruction, IoQualification(exit), 0),
        ExitKind.Hypercall => new(Reason.Vmcall, 0, 0),
        ExitKind.Xsetbv => new(Reason.Xsetbv, 0, 0),
        ExitKind.Exception => new(Reason.ExceptionOrNmi, ExceptionQualification(exit), 0),
        ExitKind.NestedPageFault => new(Reason.EptViolation, EptQualification(exit), 0),
        ExitKind.MonitorTrap => new(Reason.MonitorTrapFlag, 0, 0),
        ExitKind.DescriptorAccess => new(exit.Index <= 2 ? Reason.GdtrOrIdtr : Reason.LdtrOrTr, exit.Displacement, 0),
        ExitKind.InterruptWindow => new(Reason.InterruptWindow, 0, 0),
        ExitKind.NmiWindow => new(Reason.NmiWindow, 0, 0),
        ExitKind.TripleFault => new(Reason.TripleFault, 0, 0),
        ExitKind.Wbinvd => new(exit.Value == 1 ? Reason.Invd : Reason.Wbinvd, 0, 0),
        ExitKind.Pause => new(Reason.Pause, 0, 0),
        ExitKind.Mwait => new(Reason.Mwait, 0, 0),
        ExitKind.Rdtsc => new(exit.Value == 1 ? Reason.Rdtscp : Reason.Rdtsc, 0, 0),
        ExitKind.DrAccess => new(Reason.DebugRegister, (exit.Index & 7) | (exit.Value == 0 ? 0x10u : 0) | ((ulong)(exit.Operand & 15) << 8), 0),
        ExitKind.Vmfunc => new(Reason.Vmfunc, 0, 0),
        ExitKind.Invlpg => new(Reason.Invlpg, exit.Gla, 0),
        _ => new(~0UL, 0, 0),
    };

    /// <summary>
    /// The VM-exit instruction-information field of a descriptor access (tables 28-8 and 28-9): the operand's form, and
    /// which instruction it is in bits 28 (IDTR or TR) and 29 (a load).
    /// </summary>
    public static uint InstructionInformation(in Exit exit)
    {
        const uint TableForm = ~(OperandForm.IsRegister | (0xFu << 3)), SelectorForm = ~OperandForm.Operand32;
        var register = (DescriptorRegister)exit.Index;
        var isTable = register is DescriptorRegister.Gdtr or DescriptorRegister.Idtr;
        return (exit.Form & (isTable ? TableForm : SelectorForm))
            | (register is DescriptorRegister.Idtr or DescriptorRegister.Tr ? 1u << 28 : 0)
            | (exit.Value == 1 ? 1u << 29 : 0);
    }

    // Table 28-3: register 0–3, access type 4–5, LMSW operand 6, general register 8–11, LMSW source 16–31.
    private static ulong CrQualification(in Exit exit)
    {
        var access = exit.Kind == ExitKind.CrRead ? CrAccess.MovFrom : exit.Access;
        return access switch
        {
            CrAccess.Clts => 2UL << 4,
            CrAccess.Lmsw => (3UL << 4) | (exit.Operand == 0xFF ? 1UL << 6 : 0) | ((ulong)(exit.Form & 0xffff) << 16),
            _ => (exit.Index & 15) | ((ulong)access << 4) | ((ulong)(exit.Operand & 15) << 8),
        };
    }

    // Table 28-5: size less one 0–2, direction 3, string 4, REP 5, immediate 6, port 16–31.
    private static ulong IoQualification(in Exit exit)
    {
        var flags = (IoFlags)exit.Operand;
        return ((ulong)(flags & IoFlags.SizeMask) - 1)
            | ((flags & IoFlags.In) != 0 ? 8UL : 0)
            | ((flags & IoFlags.String) != 0 ? 16UL : 0)
            | ((flags & IoFlags.Rep) != 0 ? 32UL : 0)
            | ((flags & IoFlags.Immediate) != 0 ? 64UL : 0)
            | ((ulong)(exit.Index & 0xffff) << 16);
    }

    // #DB: the DR6 bits; #PF: the address; others: 0.
    private static ulong ExceptionQualification(in Exit exit) => exit.Index switch
    {
        1 => exit.Value,
        14 => exit.Gla,
        _ => 0,
    };

    // Table 28-7: access 0–2, rights 3–5, linear address valid 7, not a table walk 8.
    private static ulong EptQualification(in Exit exit)
    {
        var flags = (NpfFlags)exit.Value;
        var qualification = (ulong)flags & 7;
        qualification |= ((ulong)flags >> 5) & 0x38;
        if ((flags & NpfFlags.GlaValid) != 0)
        {
            qualification |= 1UL << 7;
            qualification |= (flags & NpfFlags.WithGla) != 0 ? 1UL << 8 : 0;
        }

        return qualification;
    }
}
