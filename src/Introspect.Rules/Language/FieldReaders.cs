using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <summary>Values of an event that are not simply a member of its structure.</summary>
internal static class FieldReaders
{
    public static ulong Process(ref VmEvent e, ref EvaluationContext c)
    {
        var space = SpaceOf(ref e);
        return space.Root & space.RootMask;
    }

    // The hidden part of SS has the privilege level in every mode.
    public static ulong Cpl(ref VmEvent e, ref EvaluationContext c) => (e.Registers.Ss.AccessRights >> 5) & 3;

    public static bool Sync(ref VmEvent e, ref EvaluationContext c) => (e.Flags & VmEventFlags.VcpuPaused) != 0;

    public static ulong DomainNumber(ref VmEvent e, ref EvaluationContext c) => c.Domain.Id.Value;

    public static string DomainName(ref VmEvent e, ref EvaluationContext c) => c.Domain.Name;

    public static string DomainUuid(ref VmEvent e, ref EvaluationContext c) => c.Domain.Uuid;

    public static ulong Vendor(ref VmEvent e, ref EvaluationContext c) => (ulong)c.Domain.Vendor;

    public static ulong Time(ref VmEvent e, ref EvaluationContext c) => (ulong)Math.Max(0, (c.Time - DateTime.UnixEpoch).Ticks) / TimeSpan.TicksPerMicrosecond;

    public static ulong Hour(ref VmEvent e, ref EvaluationContext c) => (ulong)c.Time.Hour;

    public static ulong Weekday(ref VmEvent e, ref EvaluationContext c) => (ulong)c.Time.DayOfWeek;

    public static ulong Eax(ref VmEvent e, ref EvaluationContext c) => (uint)e.Registers.Rax;

    public static ulong Ebx(ref VmEvent e, ref EvaluationContext c) => (uint)e.Registers.Rbx;

    public static ulong Ecx(ref VmEvent e, ref EvaluationContext c) => (uint)e.Registers.Rcx;

    public static ulong Edx(ref VmEvent e, ref EvaluationContext c) => (uint)e.Registers.Rdx;

    public static ulong CsLimit(ref VmEvent e, ref EvaluationContext c) => e.Registers.Cs.Limit;

    public static ulong SsLimit(ref VmEvent e, ref EvaluationContext c) => e.Registers.Ss.Limit;

    public static ulong DsLimit(ref VmEvent e, ref EvaluationContext c) => e.Registers.Ds.Limit;

    public static ulong EsLimit(ref VmEvent e, ref EvaluationContext c) => e.Registers.Es.Limit;

    public static ulong FsLimit(ref VmEvent e, ref EvaluationContext c) => e.Registers.Fs.Limit;

    public static ulong GsLimit(ref VmEvent e, ref EvaluationContext c) => e.Registers.Gs.Limit;

    public static ulong CsRights(ref VmEvent e, ref EvaluationContext c) => e.Registers.Cs.AccessRights;

    public static ulong SsRights(ref VmEvent e, ref EvaluationContext c) => e.Registers.Ss.AccessRights;

    public static ulong DsRights(ref VmEvent e, ref EvaluationContext c) => e.Registers.Ds.AccessRights;

    public static ulong EsRights(ref VmEvent e, ref EvaluationContext c) => e.Registers.Es.AccessRights;

    public static ulong FsRights(ref VmEvent e, ref EvaluationContext c) => e.Registers.Fs.AccessRights;

    public static ulong GsRights(ref VmEvent e, ref EvaluationContext c) => e.Registers.Gs.AccessRights;

    public static ulong ControlRegisterChange(ref VmEvent e, ref EvaluationContext c) => e.WriteCtrlreg.OldValue ^ e.WriteCtrlreg.NewValue;

    public static ulong MsrChange(ref VmEvent e, ref EvaluationContext c) => e.MovToMsr.OldValue ^ e.MovToMsr.NewValue;

    public static ulong DescriptorRegister(ref VmEvent e, ref EvaluationContext c) => Vocabulary.Descriptor(e.DescAccess.Descriptor);

    public static ulong DescriptorLoad(ref VmEvent e, ref EvaluationContext c) => e.DescAccess.IsWrite != 0 ? 1UL : 0;

    // Only VMX tells these two.
    public static ulong InstructionInfo(ref VmEvent e, ref EvaluationContext c) => IfVmx(ref c, e.DescAccess.InstrInfo);

    public static ulong DescriptorQualification(ref VmEvent e, ref EvaluationContext c) => IfVmx(ref c, e.DescAccess.ExitQualification);

    public static ulong ExitInfo2(ref VmEvent e, ref EvaluationContext c) =>
        c.Domain.Vendor == CpuVendor.Svm ? e.VmExitSvm.ExitInfo2 : Unknown(ref c);

    public static ulong Rights(ref VmEvent e, ref EvaluationContext c) =>
        (ulong)(e.MemAccess.Flags & (MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute));

    public static ulong GuestPhysicalAddress(ref VmEvent e, ref EvaluationContext c) =>
        (e.MemAccess.Gfn << Gfn.PageShift) | (e.MemAccess.Offset & (Gfn.PageSize - 1));

    public static ulong GuestLinearAddress(ref VmEvent e, ref EvaluationContext c) =>
        (e.MemAccess.Flags & MemAccessFlags.GlaValid) != 0 ? e.MemAccess.Gla : Unknown(ref c);

    public static bool WithGla(ref VmEvent e, ref EvaluationContext c) => (e.MemAccess.Flags & MemAccessFlags.FaultWithGla) != 0;

    public static bool PageWalk(ref VmEvent e, ref EvaluationContext c) => (e.MemAccess.Flags & MemAccessFlags.FaultInGpt) != 0;

    // MEM_PAGING_DROP_PAGE and MEM_PAGING_EVICT_FAIL
    public static bool PagingDropped(ref VmEvent e, ref EvaluationContext c) => (e.MemPaging.Flags & 1) != 0;

    public static bool PagingFailed(ref VmEvent e, ref EvaluationContext c) => (e.MemPaging.Flags & 2) != 0;

    public static ulong ErrorCode(ref VmEvent e, ref EvaluationContext c) =>
        e.Interrupt.ErrorCode != TrapInjection.NoErrorCode ? e.Interrupt.ErrorCode : Unknown(ref c);

    public static ulong IoDirection(ref VmEvent e, ref EvaluationContext c) => e.Io.In != 0 ? 1UL : 0;

    public static bool IoString(ref VmEvent e, ref EvaluationContext c) => e.Io.StringOp != 0;

    public static string MsrName(ref VmEvent e, ref EvaluationContext c) =>
        MsrNames.TryGetName(e.MovToMsr.Msr, out var name) ? name : UnknownText(ref c);

    public static string ExitName(ref VmEvent e, ref EvaluationContext c) =>
        ExitNames.Of(c.Domain.Vendor, e.VmExit.ExitReason) ?? UnknownText(ref c);

    /// <summary>For a value that the event does not have.</summary>
    public static ulong Unknown(ref EvaluationContext c)
    {
        c.IsUnknown = true;
        return 0;
    }

    /// <summary>For a text that the event does not have.</summary>
    public static string UnknownText(ref EvaluationContext c)
    {
        c.IsUnknown = true;
        return "";
    }

    /// <summary>For a truth that the event does not have.</summary>
    public static bool UnknownTruth(ref EvaluationContext c)
    {
        c.IsUnknown = true;
        return false;
    }

    public static AddressSpace SpaceOf(ref VmEvent e) => AddressSpace.FromControlRegisters(
        e.Registers.Cr0, e.Registers.Cr3, e.Registers.Cr4, e.Registers.MsrEfer);

    private static ulong IfVmx(ref EvaluationContext c, ulong value) => c.Domain.Vendor == CpuVendor.Vmx ? value : Unknown(ref c);
}
