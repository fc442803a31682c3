using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Output;

/// <summary>What an event is about, in words: the part of a line that depends on the reason.</summary>
internal static class EventDetail
{
    /// <summary><c>MEM_PAGING_DROP_PAGE</c>.</summary>
    public const uint PagingDropped = 1;

    /// <summary><c>MEM_PAGING_EVICT_FAIL</c>.</summary>
    public const uint PagingFailed = 2;

    /// <summary>Appends the detail of an event.</summary>
    public static void Append(StringBuilder line, in VmEvent e, CpuVendor vendor)
    {
        switch (e.Reason)
        {
            case VmEventReason.MemAccess:
                AppendAccess(line, e.MemAccess);
                break;
            case VmEventReason.MemPaging:
                Text(line, $"gfn 0x{e.MemPaging.Gfn:x} type {e.MemPaging.P2mType}");
                line.Append((e.MemPaging.Flags & PagingDropped) != 0 ? " dropped" : "").Append((e.MemPaging.Flags & PagingFailed) != 0 ? " failed" : "");
                break;
            case VmEventReason.MemSharing:
                Text(line, $"gfn 0x{e.MemSharing.Gfn:x} type {e.MemSharing.P2mType}");
                break;
            case VmEventReason.WriteCtrlreg:
                Text(line, $"{Register(e.WriteCtrlreg.Index)} 0x{e.WriteCtrlreg.OldValue:x} -> 0x{e.WriteCtrlreg.NewValue:x}");
                BitNames.AppendChange(line, e.WriteCtrlreg.Index, e.WriteCtrlreg.OldValue, e.WriteCtrlreg.NewValue);
                break;
            case VmEventReason.MovToMsr:
                AppendMsr(line, e.MovToMsr);
                break;
            case VmEventReason.SoftwareBreakpoint:
                Text(line, $"{TrapType(e.Debug.Type)} length {e.Debug.InsnLength} gfn 0x{e.Debug.Gfn:x}");
                break;
            case VmEventReason.DebugException:
                Text(line, $"{TrapType(e.Debug.Type)} pending 0x{e.Debug.PendingDbg:x} length {e.Debug.InsnLength} gfn 0x{e.Debug.Gfn:x}");
                break;
            case VmEventReason.Singlestep:
                Text(line, $"gfn 0x{e.SinglestepGfn:x}");
                break;
            case VmEventReason.Cpuid:
                Text(line, $"leaf 0x{e.Cpuid.Leaf:x} subleaf 0x{e.Cpuid.Subleaf:x} -> eax 0x{(uint)e.Registers.Rax:x} ebx 0x{(uint)e.Registers.Rbx:x} ecx 0x{(uint)e.Registers.Rcx:x} edx 0x{(uint)e.Registers.Rdx:x}");
                break;
            case VmEventReason.GuestRequest:
                // What a request is about is between the guest and its monitor: these are what a hypercall passes.
                Text(line, $"cpl {Cpl(e.Registers)} rdi 0x{e.Registers.Rdi:x} rsi 0x{e.Registers.Rsi:x} rdx 0x{e.Registers.Rdx:x}");
                break;
            case VmEventReason.PrivilegedCall:
                Text(line, $"cpl {Cpl(e.Registers)}");
                break;
            case VmEventReason.EmulUnimplemented:
                Text(line, $"cpl {Cpl(e.Registers)} the emulator has no code for the instruction");
                break;
            case VmEventReason.Interrupt:
                AppendInterrupt(line, e.Interrupt);
                break;
            case VmEventReason.DescriptorAccess:
                Text(line, $"{(e.DescAccess.IsWrite != 0 ? "load" : "store")} {Descriptor(e.DescAccess.Descriptor)}");
                if (vendor == CpuVendor.Vmx && e.DescAccess.InstrInfo != 0)
                {
                    Text(line, $" info 0x{e.DescAccess.InstrInfo:x} displacement 0x{e.DescAccess.ExitQualification:x}");
                }

                break;
            case VmEventReason.VmExit:
                Text(line, $"{ExitNames.Of(vendor, e.VmExit.ExitReason) ?? "exit"} 0x{e.VmExit.ExitReason:x} {(vendor == CpuVendor.Vmx ? "qualification" : "exitinfo1")} 0x{e.VmExit.Qualification:x}");
                if (vendor == CpuVendor.Svm && e.VmExitSvm.ExitInfo2 != 0)
                {
                    Text(line, $" exitinfo2 0x{e.VmExitSvm.ExitInfo2:x}");
                }

                break;
            case VmEventReason.IoInstruction:
                Text(line, $"{(e.Io.In != 0 ? "in" : "out")} port 0x{e.Io.Port:x} bytes {e.Io.Bytes}{(e.Io.StringOp != 0 ? " string" : "")}");
                break;
            default:
                Text(line, $"reason {(uint)e.Reason}");
                break;
        }
    }

    /// <summary>The privilege level of the code that caused an event: that of SS, whose hidden part has it in every mode.</summary>
    public static int Cpl(in VmEventRegisters registers) => (int)(registers.Ss.AccessRights >> 5 & 3);

    /// <summary>A control register's name.</summary>
    public static string Register(ControlRegisterIndex index) => index switch
    {
        ControlRegisterIndex.Cr0 => "CR0",
        ControlRegisterIndex.Cr3 => "CR3",
        ControlRegisterIndex.Cr4 => "CR4",
        ControlRegisterIndex.Xcr0 => "XCR0",
        _ => string.Create(CultureInfo.InvariantCulture, $"CR?{(uint)index}"),
    };

    /// <summary>A descriptor table register's name.</summary>
    public static string Descriptor(DescriptorRegister register) => register switch
    {
        DescriptorRegister.Idtr => "idtr",
        DescriptorRegister.Gdtr => "gdtr",
        DescriptorRegister.Ldtr => "ldtr",
        DescriptorRegister.Tr => "tr",
        _ => string.Create(CultureInfo.InvariantCulture, $"register_{(byte)register}"),
    };

    /// <summary>How a trap came about (HVMOP_TRAP_*).</summary>
    public static string TrapType(uint type) => type switch
    {
        0 => "external_interrupt",
        2 => "nmi",
        3 => "hardware_exception",
        4 => "software_interrupt",
        5 => "privileged_software_exception",
        6 => "software_exception",
        _ => string.Create(CultureInfo.InvariantCulture, $"type_{type}"),
    };

    /// <summary>The rights that an access needed: <c>rw-</c>.</summary>
    public static string Rights(MemAccessFlags flags) => string.Create(3, flags, static (text, f) =>
    {
        text[0] = (f & MemAccessFlags.Read) != 0 ? 'r' : '-';
        text[1] = (f & MemAccessFlags.Write) != 0 ? 'w' : '-';
        text[2] = (f & MemAccessFlags.Execute) != 0 ? 'x' : '-';
    });

    private static void AppendAccess(StringBuilder line, in VmEventMemAccess access)
    {
        Text(line, $"{Rights(access.Flags)} gpa 0x{(access.Gfn << Gfn.PageShift) + access.Offset:x}");
        if ((access.Flags & MemAccessFlags.GlaValid) != 0)
        {
            Text(line, $" gla 0x{access.Gla:x}");
        }

        if ((access.Flags & MemAccessFlags.FaultInGpt) != 0)
        {
            line.Append(" in page-table walk");
        }
    }

    private static void AppendMsr(StringBuilder line, in VmEventMovToMsr write)
    {
        if (MsrNames.TryGetName(write.Msr, out var name))
        {
            line.Append(name).Append(' ');
        }

        Text(line, $"0x{write.Msr:x}: 0x{write.OldValue:x} -> 0x{write.NewValue:x}");
        BitNames.AppendMsrChange(line, write.Msr, write.OldValue, write.NewValue);
    }

    private static void AppendInterrupt(StringBuilder line, in VmEventInterrupt interrupt)
    {
        Text(line, $"vector 0x{interrupt.Vector:x} {TrapType(interrupt.Type)}");
        if (interrupt.ErrorCode != TrapInjection.NoErrorCode)
        {
            Text(line, $" error 0x{interrupt.ErrorCode:x}");
        }

        if (interrupt.Vector == 14)
        {
            Text(line, $" cr2 0x{interrupt.Cr2:x}");
        }
    }

    // The program runs with the invariant culture, so that no number is written in the user's way.
    private static void Text(StringBuilder line, [InterpolatedStringHandlerArgument(nameof(line))] ref StringBuilder.AppendInterpolatedStringHandler text) =>
        line.Append(ref text);
}
