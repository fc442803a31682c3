using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>AMD-V: exit codes and exit information of the Architecture Programmer's Manual, volume 2, appendix C and chapter 15.</summary>
internal sealed class SvmPersonality : VendorPersonality
{
    /// <summary>Intercept exit codes.</summary>
    internal static class Code
    {
        public const ulong ReadCr0 = 0x00;
        public const ulong WriteCr0 = 0x10;
        public const ulong ReadDr0 = 0x20;
        public const ulong WriteDr0 = 0x30;
        public const ulong Exception0 = 0x40;
        public const ulong Interrupt = 0x60;
        public const ulong VirtualInterrupt = 0x64;
        public const ulong SelectiveCr0Write = 0x65;
        public const ulong ReadIdtr = 0x66;
        public const ulong ReadGdtr = 0x67;
        public const ulong ReadLdtr = 0x68;
        public const ulong ReadTr = 0x69;
        public const ulong WriteIdtr = 0x6a;
        public const ulong Rdtsc = 0x6e;
        public const ulong Cpuid = 0x72;
        public const ulong Iret = 0x74;
        public const ulong Invd = 0x76;
        public const ulong Pause = 0x77;
        public const ulong Hlt = 0x78;
        public const ulong Invlpg = 0x79;
        public const ulong Io = 0x7b;
        public const ulong Msr = 0x7c;
        public const ulong Shutdown = 0x7f;
        public const ulong Vmmcall = 0x81;
        public const ulong Rdtscp = 0x87;
        public const ulong Icebp = 0x88;
        public const ulong Wbinvd = 0x89;
        public const ulong Mwait = 0x8b;
        public const ulong Xsetbv = 0x8d;
        public const ulong NestedPageFault = 0x400;
    }

    /// <inheritdoc/>
    public override CpuVendor Vendor => CpuVendor.Svm;

    /// <inheritdoc/>
    public override MonitorCapabilities Capabilities => (MonitorCapabilities)0x1f7b;

    /// <inheritdoc/>
    public override bool HasMemAccess => false;

    /// <inheritdoc/>
    public override bool HasAltP2m => false;

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> HypercallInstruction => [0x0f, 0x01, 0xd9];

    /// <inheritdoc/>
    public override string CpuidVendor => "AuthenticAMD";

    /// <inheritdoc/>
    public override VendorExit Translate(in Exit exit, ulong rip) => exit.Kind switch
    {
        ExitKind.Kick => new(Code.Interrupt, 0, 0),
        ExitKind.Hlt => new(Code.Hlt, 0, 0),
        ExitKind.Cpuid => new(Code.Cpuid, 0, 0),
        ExitKind.CrRead => new(Code.ReadCr0 + (exit.Index & 15), MovInfo(exit), 0),
        ExitKind.CrWrite => new(Code.WriteCr0 + (exit.Index & 15), MovInfo(exit), 0),
        ExitKind.MsrRead => new(Code.Msr, 0, 0),
        ExitKind.MsrWrite => new(Code.Msr, 1, 0),
        ExitKind.Io => new(Code.Io, IoInfo(exit), rip + exit.InsnLength),
        ExitKind.Hypercall => new(Code.Vmmcall, 0, 0),
        ExitKind.Xsetbv => new(Code.Xsetbv, 0, 0),
        ExitKind.Exception when exit.Operand == (byte)EventType.PrivilegedSoftwareException => new(Code.Icebp, 0, 0),
        ExitKind.Exception => new(Code.Exception0 + (exit.Index & 31), HasErrorCode(exit.Index) ? exit.Value : 0, exit.Index == 14 ? exit.Gla : 0),
        ExitKind.NestedPageFault => new(Code.NestedPageFault, NpfInfo(exit), exit.Gpa),

        // SVM has no monitor trap flag: what steps is TF, and its exit is #DB.
        ExitKind.MonitorTrap => new(Code.Exception0 + 1, 0, 0),
        ExitKind.DescriptorAccess => new((exit.Value == 1 ? Code.WriteIdtr : Code.ReadIdtr) + ((exit.Index - 1) & 3), 0, 0),
        ExitKind.InterruptWindow => new(Code.VirtualInterrupt, 0, 0),

        // SVM has no NMI window either: the handler's IRET is intercepted.
        ExitKind.NmiWindow => new(Code.Iret, 0, 0),
        ExitKind.TripleFault => new(Code.Shutdown, 0, 0),
        ExitKind.Wbinvd => new(exit.Value == 1 ? Code.Invd : Code.Wbinvd, 0, 0),
        ExitKind.Pause => new(Code.Pause, 0, 0),
        ExitKind.Mwait => new(Code.Mwait, 0, 0),
        ExitKind.Rdtsc => new(exit.Value == 1 ? Code.Rdtscp : Code.Rdtsc, 0, 0),
        ExitKind.DrAccess => new((exit.Value == 1 ? Code.WriteDr0 : Code.ReadDr0) + (exit.Index & 15), (ulong)(exit.Operand & 15), 0),
        ExitKind.Invlpg => new(Code.Invlpg, exit.Gla, 0),
        _ => new(~0UL, 0, 0),
    };

    // Decode assist: bit 63 is set for MOV, the general register is in bits 0–3; CLTS and LMSW give neither.
    private static ulong MovInfo(in Exit exit) =>
        exit.Kind == ExitKind.CrRead || exit.Access is CrAccess.MovTo ? (1UL << 63) | (exit.Operand & 15u) : 0;

    // Direction in bit 0, string 2, REP 3, operand size 4–6, address size 7–9, segment of a string 10–12, port 16–31.
    private static ulong IoInfo(in Exit exit)
    {
        var flags = (IoFlags)exit.Operand;
        return ((flags & IoFlags.In) != 0 ? 1UL : 0)
            | ((flags & IoFlags.String) != 0 ? 4UL : 0)
            | ((flags & IoFlags.Rep) != 0 ? 8UL : 0)
            | ((ulong)(flags & IoFlags.SizeMask) << 4)
            | (exit.Access switch { (CrAccess)2 => 1UL << 7, (CrAccess)4 => 1UL << 8, _ => 1UL << 9 })
            | ((flags & IoFlags.String) != 0 ? (ulong)(exit.Form & 7) << 10 : 0)
            | ((ulong)(exit.Index & 0xffff) << 16);
    }

    // As a page fault's error code, with bit 32 for the page itself and bit 33 for a table on the way.
    private static ulong NpfInfo(in Exit exit)
    {
        var flags = (NpfFlags)exit.Value;
        var info = 4UL;
        info |= (flags & NpfFlags.Present) != 0 ? 1UL : 0;
        info |= (flags & NpfFlags.Write) != 0 ? 2UL : 0;
        info |= (flags & NpfFlags.Execute) != 0 ? 16UL : 0;
        var inTable = (flags & (NpfFlags.GlaValid | NpfFlags.WithGla)) == NpfFlags.GlaValid;
        return info | (inTable ? 1UL << 33 : 1UL << 32);
    }

    private static bool HasErrorCode(uint vector) => vector is 8 or 10 or 11 or 12 or 13 or 14 or 17 or 21 or 29 or 30;
}
