using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>One event of each reason, with values that a reader can tell apart.</summary>
internal static class SampleEvents
{
    public static VmEvent Of(VmEventReason reason)
    {
        var e = new VmEvent
        {
            Version = VmEvent.InterfaceVersion,
            Reason = reason,
            Flags = reason is VmEventReason.VmExit ? VmEventFlags.None : VmEventFlags.VcpuPaused,
            VcpuId = 1,
        };
        // The union first: its members overlay each other, the registers lie behind them.
        switch (reason)
        {
            case VmEventReason.MemAccess:
                e.MemAccess = new() { Gfn = 0x106, Offset = 0x400, Gla = 0x106400, Flags = MemAccessFlags.Write | MemAccessFlags.GlaValid | MemAccessFlags.FaultWithGla };
                break;
            case VmEventReason.MemPaging:
                e.MemPaging = new() { Gfn = 0x107, P2mType = 10, Flags = 1 };
                break;
            case VmEventReason.MemSharing:
                e.MemSharing = new() { Gfn = 0x108, P2mType = 13 };
                break;
            case VmEventReason.WriteCtrlreg:
                e.WriteCtrlreg = new() { Index = ControlRegisterIndex.Cr4, OldValue = 0x20, NewValue = 0x100020 };
                break;
            case VmEventReason.MovToMsr:
                e.MovToMsr = new() { Msr = 0xc000_0080, OldValue = 0x500, NewValue = 0xd01 };
                break;
            case VmEventReason.SoftwareBreakpoint:
                e.Debug = new() { Gfn = 0x101, InsnLength = 1, Type = 6 };
                break;
            case VmEventReason.DebugException:
                e.Debug = new() { Gfn = 0x101, PendingDbg = 0x4000, InsnLength = 0, Type = 3 };
                break;
            case VmEventReason.Singlestep:
                e.SinglestepGfn = 0x101;
                break;
            case VmEventReason.Cpuid:
                e.Cpuid = new() { InsnLength = 2, Leaf = 0x4000_0000, Subleaf = 0 };
                break;
            case VmEventReason.Interrupt:
                e.Interrupt = new() { Vector = 14, Type = 3, ErrorCode = 2, Cr2 = 0xdead000 };
                break;
            case VmEventReason.DescriptorAccess:
                e.DescAccess = new() { Descriptor = DescriptorRegister.Gdtr, IsWrite = 1, InstrInfo = 0x5010, ExitQualification = 0x48 };
                break;
            case VmEventReason.VmExit:
                e.VmExit = new() { ExitReason = 10, Qualification = 0 };
                break;
            case VmEventReason.IoInstruction:
                e.Io = new() { Bytes = 1, Port = 0x80, In = 0, StringOp = 0 };
                break;
            default:
                break;
        }

        e.Registers.Rip = 0x10104c;
        e.Registers.Cr3 = 0x10a000;
        e.Registers.Rax = 0x40000004;
        e.Registers.Rbx = 0x566e6558;
        e.Registers.Rcx = 0x65584d4d;
        e.Registers.Rdx = 0x4d4d566e;
        e.Registers.Rsi = 0x51;
        e.Registers.Rdi = 0xd1;
        e.Registers.Ss = VmEventSegment.Pack(0xfffff, 0xcf3);
        return e;
    }
}
