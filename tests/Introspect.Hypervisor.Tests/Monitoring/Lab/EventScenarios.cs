using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring.Lab;

/// <summary>The rows of the table in docs/vm-event.md.</summary>
internal static class EventScenarios
{
    private const ulong Wp = 1 << 16, FirstCr0 = 0x80050033;
    private const uint Lstar = 0xC0000082;
    private const VmEventFlags Emulation = VmEventFlags.Emulate | VmEventFlags.EmulateNoWrite | VmEventFlags.SetEmulReadData;

    private static readonly Gfn Watched = new GuestPhysical(LabMemory.Watched).Gfn;

    public static IReadOnlyList<EventScenario> All { get; } =
    [
        new()
        {
            Name = "mem_access",
            Reason = VmEventReason.MemAccess,
            Vendors = [CpuVendor.Vmx],
            Trigger = static (code, _) => code.mov(__qword_ptr[(long)LabMemory.Watched], 0x5A),
            Prepare = static lab => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.N),
            Undo = static lab => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx),
            Bare = BareOutcome.Repeats,
            Honours = Emulation,
            Errors = static lab => Assert.Equal(Errno.EINVAL, Refused(() => lab.Monitor.SetMemoryAccess(Watched, 1, (MemoryAccess)12))),
            Fields = static (e, _) =>
            {
                Assert.Equal((Watched.Value, 0UL, LabMemory.Watched), (e.MemAccess.Gfn, e.MemAccess.Offset, e.MemAccess.Gla));
                Assert.Equal(MemAccessFlags.Write | MemAccessFlags.GlaValid | MemAccessFlags.FaultWithGla, e.MemAccess.Flags);
            },
            Effect = static (lab, done) => Assert.Equal(done ? 0x5AUL : 0, lab.Read(LabMemory.Watched)),
        },
        new()
        {
            Name = "write_ctrlreg",
            Reason = VmEventReason.WriteCtrlreg,
            Event = new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0),
            Trigger = static (code, _) =>
            {
                code.mov(rax, cr0);
                code.xor(rax, (int)Wp);
                code.mov(cr0, rax);
            },
            Bare = BareOutcome.GoesOn,
            Honours = VmEventFlags.Deny,
            Errors = static lab =>
            {
                var arguments = new DomctlMonitorOp();
                arguments.MovToCr.Index = 4;
                Assert.Equal(Errno.EINVAL, lab.Operate(MonitorOperation.Enable, MonitorEventKind.WriteCtrlreg, arguments));
            },
            Fields = static (e, _) => Assert.Equal(
                (ControlRegisterIndex.Cr0, FirstCr0, FirstCr0 & ~Wp),
                (e.WriteCtrlreg.Index, e.WriteCtrlreg.OldValue, e.WriteCtrlreg.NewValue)),
            Effect = static (lab, done) => Assert.Equal(done ? FirstCr0 & ~Wp : FirstCr0, lab.Registers.Cr0),
        },
        new()
        {
            Name = "mov_to_msr",
            Reason = VmEventReason.MovToMsr,
            Event = new MonitorEvent.Msr(Lstar),
            Trigger = static (code, _) =>
            {
                code.mov(ecx, Lstar);
                code.mov(eax, 0x1000);
                code.xor(edx, edx);
                code.wrmsr();
            },
            Bare = BareOutcome.GoesOn,
            Honours = VmEventFlags.Deny,
            Errors = static lab =>
            {
                var arguments = new DomctlMonitorOp();
                arguments.MovToMsr.Msr = 0x2000;
                Assert.Equal(Errno.EINVAL, lab.Operate(MonitorOperation.Enable, MonitorEventKind.MovToMsr, arguments));
                lab.Monitor.Dispose();
                arguments.MovToMsr.Msr = Lstar;
                Assert.Equal(Errno.ENXIO, lab.Operate(MonitorOperation.Enable, MonitorEventKind.MovToMsr, arguments));
            },
            Fields = static (e, _) => Assert.Equal((Lstar, 0UL, 0x1000UL), ((uint)e.MovToMsr.Msr, e.MovToMsr.OldValue, e.MovToMsr.NewValue)),
            Effect = static (lab, done) => Assert.Equal(done ? 0x1000UL : 0, lab.Registers.Lstar),
        },
        new()
        {
            Name = "software_breakpoint",
            Reason = VmEventReason.SoftwareBreakpoint,
            Event = new MonitorEvent.SoftwareBreakpoint(),
            Trigger = static (code, _) => code.int3(),
            Bare = BareOutcome.Repeats,
            Honours = VmEventFlags.SetEmulInsnData,
            Errors = static _ => { },
            Fields = static (e, _) => Assert.Equal((LabMemory.Code >> 12, 1u, (byte)6), (e.Debug.Gfn, e.Debug.InsnLength, e.Debug.Type)),
        },
        new()
        {
            Name = "singlestep",
            Reason = VmEventReason.Singlestep,
            Vendors = [CpuVendor.Vmx],
            Event = new MonitorEvent.SingleStep(),
            Trigger = static (code, _) =>
            {
                code.cpuid();
                code.nop();
                code.nop();
            },
            Prepare = static lab => lab.Monitor.Enable(new MonitorEvent.Cpuid()),
            Lead = static (_, request, response) =>
            {
                if (request.Reason == VmEventReason.Cpuid)
                {
                    response.Add(VmEventFlags.ToggleSinglestep);
                    response.GoTo(request.Registers.Rip + 2);
                }
            },
            Finish = static (_, _) => { },
            Bare = BareOutcome.GoesOn,
            Errors = static _ =>
            {
                using var svm = new EventLab(static code => code.hlt(), CpuVendor.Svm);
                Assert.Equal(Errno.EOPNOTSUPP, Refused(() => svm.Monitor.Enable(new MonitorEvent.SingleStep())));
            },
            Fields = static (e, _) => Assert.Equal((LabMemory.Code >> 12, LabMemory.Code + 3), (e.SinglestepGfn, e.Registers.Rip)),
        },
        new()
        {
            Name = "guest_request",
            Reason = VmEventReason.GuestRequest,
            Event = new MonitorEvent.GuestRequest(),
            Trigger = static (code, vendor) =>
            {
                code.mov(eax, (int)HypercallNumber.HvmOp);
                code.mov(edi, (int)HvmOp.GuestRequestVmEvent);
                code.xor(esi, esi);
                if (vendor == CpuVendor.Vmx)
                {
                    code.vmcall();
                }
                else
                {
                    code.vmmcall();
                }
            },
            Bare = BareOutcome.GoesOn,
            Errors = static _ => { },
            Fields = static (e, _) => Assert.Equal((ulong)HypercallNumber.HvmOp, e.Registers.Rax),
        },
        new()
        {
            Name = "debug_exception",
            Reason = VmEventReason.DebugException,
            Event = new MonitorEvent.DebugException(),
            Trigger = static (code, _) =>
            {
                code.mov(eax, (int)LabMemory.Data);
                code.mov(dr0, rax);
                code.mov(eax, 0x00010402);
                code.mov(dr7, rax);
                code.mov(__byte_ptr[(long)LabMemory.Data], 1);
            },
            Bare = BareOutcome.GoesOn,
            Errors = static _ => { },
            Fields = static (e, _) => Assert.Equal((LabMemory.Code >> 12, 0UL, 0u, (byte)3), (e.Debug.Gfn, e.Debug.PendingDbg, e.Debug.InsnLength, e.Debug.Type)),
            Effect = static (lab, _) => Assert.Equal((1UL, 0UL), (lab.Read(LabMemory.Data), lab.Taken(1))),
        },
        new()
        {
            Name = "cpuid",
            Reason = VmEventReason.Cpuid,
            Event = new MonitorEvent.Cpuid(),
            Trigger = static (code, _) =>
            {
                code.xor(eax, eax);
                code.xor(ecx, ecx);
                code.cpuid();
            },
            Bare = BareOutcome.Repeats,
            Errors = static _ => { },
            Fields = static (e, _) => Assert.Equal((2u, 0u, 0u), (e.Cpuid.InsnLength, e.Cpuid.Leaf, e.Cpuid.Subleaf)),
        },
        new()
        {
            Name = "interrupt",
            Reason = VmEventReason.Interrupt,
            Trigger = static (code, _) => code.cpuid(),
            Prepare = static lab => lab.Monitor.Enable(new MonitorEvent.Cpuid()),
            Undo = static lab => lab.Monitor.Disable(new MonitorEvent.Cpuid()),
            Lead = static (lab, request, response) =>
            {
                if (request.Reason == VmEventReason.Cpuid)
                {
                    response.Add(VmEventFlags.GetNextInterrupt);
                    response.GoTo(request.Registers.Rip + 2);
                    lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(0x41, 0, 0, TrapInjection.NoErrorCode, 0));
                }
            },
            Finish = static (_, _) => { },
            Bare = BareOutcome.GoesOn,
            Errors = static lab => Assert.Equal(Errno.EOPNOTSUPP, lab.Operate(MonitorOperation.Enable, MonitorEventKind.Interrupt)),
            Fields = static (e, _) => Assert.Equal((0x41u, 0u, ~0u), (e.Interrupt.Vector, e.Interrupt.Type, e.Interrupt.ErrorCode)),
            Effect = static (lab, _) => Assert.Equal(1UL, lab.Taken(0x41)),
        },
        new()
        {
            Name = "descriptor_access",
            Reason = VmEventReason.DescriptorAccess,
            Event = new MonitorEvent.DescriptorAccess(),
            Trigger = static (code, _) => code.sgdt(__[(long)LabMemory.Data]),
            Bare = BareOutcome.Repeats,
            Honours = Emulation,
            Errors = static _ => { },
            Fields = static (e, vendor) =>
            {
                Assert.Equal((DescriptorRegister.Gdtr, (byte)0), (e.DescAccess.Descriptor, e.DescAccess.IsWrite));
                Assert.Equal(vendor == CpuVendor.Vmx ? LabMemory.Data : 0, e.DescAccess.ExitQualification);
            },
            Effect = static (lab, done) => Assert.Equal(done ? 0x37UL : 0, lab.Read(LabMemory.Data) & 0xFFFF),
        },
        new()
        {
            Name = "emul_unimplemented",
            Reason = VmEventReason.EmulUnimplemented,
            Event = new MonitorEvent.EmulUnimplemented(),
            Trigger = static (code, _) =>
            {
                code.int3();
                code.nop();
                code.nop();
            },
            Prepare = static lab => lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint()),
            Lead = static (_, request, response) =>
            {
                if (request.Reason == VmEventReason.SoftwareBreakpoint)
                {
                    SetInstruction(ref response.Event, 0x0F, 0x78, 0xC3); // vmread rbx, rax
                }
            },
            Bare = BareOutcome.Repeats,
            Errors = static _ => { },
            Fields = static (e, _) => Assert.Equal(LabMemory.Code, e.Registers.Rip),
        },
        new()
        {
            Name = "vmexit",
            Reason = VmEventReason.VmExit,
            Event = new MonitorEvent.VmExit(Sync: true),
            Trigger = static (code, _) => code.cpuid(),
            Finish = static (lab, _) =>
            {
                // Its own end: without it HLT never would be handled.
                if (lab.Inside.Monitor.VmExit)
                {
                    lab.Monitor.Disable(new MonitorEvent.VmExit());
                }
            },
            Bare = BareOutcome.Repeats,
            Errors = static _ => { },
            Fields = static (e, vendor) => Assert.Equal((vendor == CpuVendor.Vmx ? 10UL : 0x72, 0UL), (e.VmExit.ExitReason, e.VmExit.Qualification)),
        },
        new()
        {
            Name = "io_instruction",
            Reason = VmEventReason.IoInstruction,
            Event = new MonitorEvent.IoInstruction(),
            Options = new MonitoringOptions { IoInstructions = true },
            Trigger = static (code, _) => code.@in(al, 0x80),
            Bare = BareOutcome.Repeats,
            Errors = static _ =>
            {
                using var plain = new EventLab(static code => code.hlt());
                Assert.Equal(Errno.EOPNOTSUPP, Refused(() => plain.Monitor.Enable(new MonitorEvent.IoInstruction())));
            },
            Fields = static (e, _) => Assert.Equal((1u, (ushort)0x80, (byte)1, (byte)0), (e.Io.Bytes, e.Io.Port, e.Io.In, e.Io.StringOp)),
        },
    ];

    public static EventScenario Of(string name) => All.Single(scenario => scenario.Name == name);

    public static Errno Refused(Action action) => Assert.Throws<HypervisorException>(action).Error;

    /// <summary>An EMULATE response with bytes of its own.</summary>
    public static void SetInstruction(ref VmEvent response, params ReadOnlySpan<byte> bytes)
    {
        response.Flags |= VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData;
        var place = MemoryMarshal.AsBytes(new Span<VmEvent>(ref response)).Slice(56, VmEvent.MaxEmulInsnBytes);
        place.Fill(0x90);
        bytes.CopyTo(place);
    }
}
