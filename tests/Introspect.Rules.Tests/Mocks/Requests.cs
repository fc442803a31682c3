using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>Requests as a hypervisor sends them, every register filled with something to be recognised by.</summary>
public static class Requests
{
    public const ulong Rip = 0xffff_8000_0010_0ffe;

    public static VmEvent ControlRegister(ControlRegisterIndex index, ulong oldValue, ulong newValue, uint vcpu = 0, bool sync = true)
    {
        var request = Make(VmEventReason.WriteCtrlreg, vcpu, sync);
        request.WriteCtrlreg.Index = index;
        request.WriteCtrlreg.OldValue = oldValue;
        request.WriteCtrlreg.NewValue = newValue;
        return request;
    }

    public static VmEvent Msr(uint number, ulong oldValue, ulong newValue, uint vcpu = 0)
    {
        var request = Make(VmEventReason.MovToMsr, vcpu);
        request.MovToMsr.Msr = number;
        request.MovToMsr.OldValue = oldValue;
        request.MovToMsr.NewValue = newValue;
        return request;
    }

    public static VmEvent Cpuid(uint leaf = 1, uint length = 2, uint vcpu = 0, bool sync = true)
    {
        var request = Make(VmEventReason.Cpuid, vcpu, sync);
        request.Cpuid.InsnLength = length;
        request.Cpuid.Leaf = leaf;
        return request;
    }

    public static VmEvent Breakpoint(uint length = 1, uint vcpu = 0)
    {
        var request = Make(VmEventReason.SoftwareBreakpoint, vcpu);
        request.Debug.Gfn = 0x100;
        request.Debug.InsnLength = length;
        request.Debug.Type = 6;
        return request;
    }

    public static VmEvent DebugException(byte type = 3, uint length = 0, ulong pending = 0x4000, uint vcpu = 0, bool sync = true)
    {
        var request = Make(VmEventReason.DebugException, vcpu, sync);
        request.Debug.Gfn = 0x100;
        request.Debug.InsnLength = length;
        request.Debug.Type = type;
        request.Debug.PendingDbg = pending;
        return request;
    }

    public static VmEvent MemAccess(ulong gfn, MemAccessFlags access, uint vcpu = 0)
    {
        var request = Make(VmEventReason.MemAccess, vcpu);
        request.MemAccess.Gfn = gfn;
        request.MemAccess.Offset = 0x18;
        request.MemAccess.Flags = access;
        return request;
    }

    public static VmEvent Step(uint vcpu = 0)
    {
        var request = Make(VmEventReason.Singlestep, vcpu);
        request.SinglestepGfn = 0x100;
        return request;
    }

    public static VmEvent Descriptor(bool write, uint vcpu = 0)
    {
        var request = Make(VmEventReason.DescriptorAccess, vcpu);
        request.DescAccess.Descriptor = DescriptorRegister.Idtr;
        request.DescAccess.IsWrite = write ? (byte)1 : (byte)0;
        return request;
    }

    public static VmEvent PortAccess(ushort port, uint bytes, bool input, uint vcpu = 0, bool sync = true)
    {
        var request = Make(VmEventReason.IoInstruction, vcpu, sync);
        request.Io.Port = port;
        request.Io.Bytes = bytes;
        request.Io.In = input ? (byte)1 : (byte)0;
        return request;
    }

    public static VmEvent Make(VmEventReason reason, uint vcpu = 0, bool sync = true)
    {
        var request = default(VmEvent);
        request.Version = VmEvent.InterfaceVersion;
        request.Reason = reason;
        request.VcpuId = vcpu;
        request.Flags = sync ? VmEventFlags.VcpuPaused : VmEventFlags.None;
        ref var registers = ref request.Registers;
        registers.Rax = 0x1111_1111_2222_2222;
        registers.Rcx = 0xc;
        registers.Rdx = 0xd;
        registers.Rbx = 0xb;
        registers.Rsp = 0xffff_8000_0020_0000;
        registers.R15 = 0x15;
        registers.Rflags = 0x202;
        registers.Rip = Rip;
        registers.Cr0 = 0x8001_0033;
        registers.Cr3 = 0x1000;
        registers.Cr4 = 0x3000a0;
        registers.MsrEfer = 0xd01;
        registers.Cs = VmEventSegment.Pack(0xfffff, 0xa9b);
        registers.FsBase = 0xf5;
        return request;
    }
}
