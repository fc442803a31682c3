using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>WRITE_CTRLREG: one event for CR0, CR3, CR4 and XCR0.</summary>
public sealed class ControlRegisterEventTests
{
    private const ulong Wp = 1 << 16, Ts = 8, Mp = 2, Pge = 1 << 7, Osxsave = 1 << 18, Pcide = 1 << 17, NoFlush = 1UL << 63;

    private static readonly ControlRegisterIndex[] Registers =
        [ControlRegisterIndex.Cr0, ControlRegisterIndex.Cr3, ControlRegisterIndex.Cr4, ControlRegisterIndex.Xcr0];

    public static TheoryData<ControlRegisterIndex, ControlRegisterIndex> Pairs
    {
        get
        {
            var pairs = new TheoryData<ControlRegisterIndex, ControlRegisterIndex>();
            foreach (var first in Registers)
            {
                foreach (var second in Registers.Where(second => second != first))
                {
                    pairs.Add(first, second);
                }
            }

            return pairs;
        }
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Each_register_has_its_index_and_old_is_old(CpuVendor vendor)
    {
        using var lab = new EventLab(WriteAll, vendor);
        Enable(lab, Registers);
        var events = lab.Run();
        Assert.Equal(
            [
                new Write(ControlRegisterIndex.Cr4, 0x620, 0x620 | Osxsave),
                new Write(ControlRegisterIndex.Cr0, 0x80050033, 0x80050033 & ~Wp),
                new Write(ControlRegisterIndex.Cr3, LabMemory.Pml4, LabMemory.OtherPml4),
                new Write(ControlRegisterIndex.Xcr0, 1, 3),
            ],
            events.Select(Write.Of));
        Assert.All(events, static e => Assert.Equal(VmEventFlags.VcpuPaused, e.Flags));
        ref var state = ref lab.Registers;
        Assert.Equal((0x80050033 & ~Wp, LabMemory.OtherPml4, 0x620 | Osxsave), (state.Cr0, state.Cr3, state.Cr4));
    }

    [Fact]
    public void The_seam_says_which_bits_to_watch_and_the_wire_which_to_ignore()
    {
        // Two writes of CR4: PGE and then OSXSAVE. Watching PGE alone tells of the first.
        static void Program(Iced.Intel.Assembler code)
        {
            code.mov(rax, cr4);
            code.xor(rax, (int)Pge);
            code.mov(cr4, rax);
            code.or(rax, (int)Osxsave);
            code.mov(cr4, rax);
            code.hlt();
        }

        using (var lab = new EventLab(Program))
        {
            lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, WatchMask: Pge));
            Assert.Equal(Pge, Assert.Single(lab.Run()).WriteCtrlreg.NewValue & Pge);
        }

        using (var lab = new EventLab(Program))
        {
            // On the wire the mask holds the bits that do not matter.
            var arguments = new DomctlMonitorOp();
            arguments.MovToCr.Index = (byte)ControlRegisterIndex.Cr4;
            arguments.MovToCr.Sync = 1;
            arguments.MovToCr.BitMask = Pge;
            Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Enable, MonitorEventKind.WriteCtrlreg, arguments));
            Assert.Equal(Osxsave, Assert.Single(lab.Run()).WriteCtrlreg.NewValue & Osxsave);
        }
    }

    [Theory]
    [MemberData(nameof(Pairs))]
    public void A_registers_options_are_its_own(ControlRegisterIndex first, ControlRegisterIndex second)
    {
        using var lab = new EventLab(WriteAll);
        var monitor = lab.Inside.Monitor;
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(first, Sync: true, OnChangeOnly: true, WatchMask: 0xF0));
        Assert.True(monitor.IsMonitored(first) && !monitor.IsMonitored(second));

        lab.Monitor.Enable(new MonitorEvent.ControlRegister(second, Sync: false, OnChangeOnly: false, WatchMask: 0x0F));
        Assert.True(monitor.IsMonitored(first) && monitor.IsMonitored(second));
        Assert.True(monitor.IsSync(first));
        Assert.False(monitor.IsSync(second));
        Assert.True(monitor.Wants(first, 0x10, 0) && !monitor.Wants(first, 0x01, 0));
        Assert.True(monitor.Wants(second, 0x01, 0) && !monitor.Wants(second, 0x10, 0));

        lab.Monitor.Disable(new MonitorEvent.ControlRegister(second));
        Assert.True(monitor.IsMonitored(first) && monitor.IsSync(first) && !monitor.IsMonitored(second));
        Assert.True(monitor.Wants(first, 0x10, 0) && !monitor.Wants(first, 0x01, 0));

        lab.Monitor.Enable(new MonitorEvent.ControlRegister(second, Sync: true));
        lab.Monitor.Disable(new MonitorEvent.ControlRegister(first));
        Assert.True(!monitor.IsMonitored(first) && monitor.IsMonitored(second) && monitor.IsSync(second));
    }

    [Theory]
    [MemberData(nameof(Pairs))]
    public void One_is_sync_while_another_is_async(ControlRegisterIndex sync, ControlRegisterIndex async)
    {
        using var lab = new EventLab(WriteAll);
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(sync, Sync: true));
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(async, Sync: false));
        var events = lab.Run();
        Assert.Equal(2, events.Count);
        Assert.Equal(VmEventFlags.VcpuPaused, events.Single(e => e.WriteCtrlreg.Index == sync).Flags);
        Assert.Equal(VmEventFlags.None, events.Single(e => e.WriteCtrlreg.Index == async).Flags);
    }

    [Theory]
    [MemberData(nameof(Pairs))]
    public void Onchangeonly_of_one_leaves_the_others_old_behaviour(ControlRegisterIndex changes, ControlRegisterIndex all)
    {
        using var lab = new EventLab(WriteAll, options: new MonitoringOptions { ReportUnchanged = true });
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(changes, OnChangeOnly: true));
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(all, OnChangeOnly: false));
        var monitor = lab.Inside.Monitor;
        Assert.False(monitor.Wants(changes, 5, 5));
        Assert.True(monitor.Wants(all, 5, 5));
        lab.Monitor.Disable(new MonitorEvent.ControlRegister(changes));
        Assert.True(monitor.Wants(all, 5, 5));
    }

    [Fact]
    public void A_state_that_is_there_already_is_EEXIST_and_an_unknown_index_EINVAL()
    {
        using var lab = new EventLab(WriteAll);
        foreach (var index in Registers)
        {
            var arguments = new DomctlMonitorOp();
            arguments.MovToCr.Index = (byte)index;
            Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Disable, MonitorEventKind.WriteCtrlreg, arguments));
            Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Enable, MonitorEventKind.WriteCtrlreg, arguments));

            // Other options are no other state.
            arguments.MovToCr.Sync = 1;
            Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Enable, MonitorEventKind.WriteCtrlreg, arguments));
            Assert.False(lab.Inside.Monitor.IsSync(index));
            Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Disable, MonitorEventKind.WriteCtrlreg, arguments));
        }

        var unknown = new DomctlMonitorOp();
        unknown.MovToCr.Index = 4;
        Assert.Equal(Errno.EINVAL, lab.Operate(MonitorOperation.Enable, MonitorEventKind.WriteCtrlreg, unknown));
        Assert.Equal(Errno.EINVAL, lab.Operate(MonitorOperation.Disable, MonitorEventKind.WriteCtrlreg, unknown));
    }

    [Fact]
    public void Enabling_works_before_the_ring_exists_and_events_flow_with_it()
    {
        using var lab = new EventLab(code =>
        {
            var loop = code.CreateLabel();
            code.mov(rbx, cr0);
            code.Label(ref loop);
            code.xor(rbx, (int)Wp);
            code.mov(cr0, rbx);
            code.inc(__qword_ptr[(long)LabMemory.Data]);
            code.jmp(loop);
        });
        lab.Monitor.Dispose();
        var arguments = new DomctlMonitorOp();
        arguments.MovToCr.Sync = 1;
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Enable, MonitorEventKind.WriteCtrlreg, arguments));
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.ControlRegisters, default));

        // Nobody listens, and every write is done.
        lab.Start();
        Assert.True(SpinWait.SpinUntil(() => lab.Read(LabMemory.Data) > 10, TimeSpan.FromSeconds(30)));
        using var monitor = lab.Domain.EnableMonitor();
        VmEvent request;
        while (!monitor.TryTake(out request))
        {
            monitor.Wait(TimeSpan.FromMilliseconds(1), CancellationToken.None);
        }

        Assert.Equal(VmEventReason.WriteCtrlreg, request.Reason);
        Assert.Equal(Wp, request.WriteCtrlreg.NewValue ^ request.WriteCtrlreg.OldValue);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Writes_of_cr3_leave_the_guest_only_while_somebody_wants_them(CpuVendor vendor)
    {
        // The loop is decoded and hot before anybody asks.
        using var lab = new EventLab(
            code =>
            {
                var loop = code.CreateLabel();
                code.mov(rbx, (long)LabMemory.Pml4);
                code.Label(ref loop);
                code.xor(rbx, (int)(LabMemory.Pml4 ^ LabMemory.OtherPml4));
                code.mov(cr3, rbx);
                code.inc(__qword_ptr[(long)LabMemory.Data]);
                code.cmp(__qword_ptr[(long)(LabMemory.Data + 8)], 0);
                code.je(loop);
                code.hlt();
            },
            vendor);
        lab.Start();
        Assert.True(SpinWait.SpinUntil(() => lab.Read(LabMemory.Data) > 100, TimeSpan.FromSeconds(30)));
        Assert.Equal(Intercepts.None, lab.Vcpu.Runner.State.Intercepts & Intercepts.Cr3Write);

        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        Assert.Equal(Intercepts.Cr3Write, lab.Vcpu.Runner.State.Intercepts & Intercepts.Cr3Write);
        var request = lab.RunToEvent();
        Assert.Equal(LabMemory.Pml4 ^ LabMemory.OtherPml4, request.WriteCtrlreg.NewValue ^ request.WriteCtrlreg.OldValue);

        lab.Monitor.Disable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        Assert.Equal(Intercepts.None, lab.Vcpu.Runner.State.Intercepts & Intercepts.Cr3Write);
        lab.Domain.Memory.WritePhysical(new GuestPhysical(LabMemory.Data + 8), [1]);
        lab.Respond(EventLab.Echo(in request));
        Assert.Single(lab.Run());
    }

    [Fact]
    public void A_change_of_the_cr3_intercept_flushes_what_the_engine_knew()
    {
        using var lab = new EventLab(WriteAll);
        lab.Inside.Pause();
        ref var state = ref lab.Vcpu.Runner.State;
        state.Async = 0;
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0));
        Assert.Equal(0u, state.Async & (uint)AsyncEvents.FlushTlb);
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        Assert.Equal((uint)AsyncEvents.FlushTlb, state.Async & (uint)AsyncEvents.FlushTlb);
        state.Async = 0;
        lab.Monitor.Disable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        Assert.Equal((uint)AsyncEvents.FlushTlb, state.Async & (uint)AsyncEvents.FlushTlb);
        lab.Inside.Unpause();
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Clts_and_lmsw_are_writes_of_cr0(CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                code.mov(eax, 0xFFF3 | (int)Ts);
                code.lmsw(ax);
                code.clts();
                code.clts(); // changes nothing
                code.hlt();
            },
            vendor);
        Enable(lab, ControlRegisterIndex.Cr0);
        Assert.Equal(
            [
                new Write(ControlRegisterIndex.Cr0, 0x80050033, 0x80050033 | Ts),
                new Write(ControlRegisterIndex.Cr0, 0x80050033 | Ts, 0x80050033),
            ],
            lab.Run().Select(Write.Of));
    }

    [Fact]
    public void A_write_of_the_same_value_is_not_reported()
    {
        using var lab = new EventLab(WriteSame);
        Enable(lab, Registers);
        Assert.Empty(lab.Run());
    }

    [Fact]
    public void The_option_report_unchanged_reports_it_unless_only_changes_are_wanted()
    {
        using var lab = new EventLab(WriteSame, options: new MonitoringOptions { ReportUnchanged = true });
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, OnChangeOnly: true));
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, OnChangeOnly: false, WatchMask: 1));
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, OnChangeOnly: true));
        Assert.Equal([new Write(ControlRegisterIndex.Cr3, LabMemory.Pml4, LabMemory.Pml4)], lab.Run().Select(Write.Of));
    }

    [Fact]
    public void The_no_flush_bit_is_not_part_of_cr3()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(rax, cr4);
            code.or(rax, (int)Pcide);
            code.mov(cr4, rax);
            code.mov(rax, LabMemory.OtherPml4 | 5 | NoFlush);
            code.mov(cr3, rax);
            code.mov(rax, LabMemory.OtherPml4 | 5 | NoFlush);
            code.mov(cr3, rax); // the same value again
            code.mov(rcx, cr3);
            code.hlt();
        });
        lab.Monitor.ControlRegisters(); // deferred writes keep the bit for the processor
        Enable(lab, ControlRegisterIndex.Cr3);
        var write = Write.Of(Assert.Single(lab.Run()));
        Assert.Equal(new Write(ControlRegisterIndex.Cr3, LabMemory.Pml4, LabMemory.OtherPml4 | 5), write);
        Assert.Equal(LabMemory.OtherPml4 | 5, lab.Gpr(1));
    }

    [Fact]
    public void A_value_that_no_register_takes_is_refused_without_an_event()
    {
        // Each fault ends the guest, so each value has one of its own.
        foreach (var (register, value) in new[] { (cr0, 1UL << 40), (cr0, 0x80000000UL), (cr3, 1UL << 60), (cr4, 1UL << 30), (cr4, 0x600UL) })
        {
            using var lab = new EventLab(code =>
            {
                code.mov(rax, value);
                code.mov(register, rax);
                code.hlt();
            });
            Enable(lab, Registers);
            Assert.Empty(lab.Run());
            Assert.Equal(1UL, lab.Taken(13));
            Assert.Equal(LabMemory.Code + 10, lab.TakenAt(13));
        }
    }

    [Fact]
    public void Bits_that_cr0_does_not_have_are_not_in_the_event()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(rax, cr0);
            code.xor(rax, (int)Wp);
            code.or(rax, 0x40);
            code.mov(cr0, rax);
            code.hlt();
        });
        Enable(lab, ControlRegisterIndex.Cr0);
        Assert.Equal(new Write(ControlRegisterIndex.Cr0, 0x80050033, 0x80050033 & ~Wp), Write.Of(Assert.Single(lab.Run())));
    }

    private static void Enable(EventLab lab, params ControlRegisterIndex[] registers)
    {
        foreach (var register in registers)
        {
            lab.Monitor.Enable(new MonitorEvent.ControlRegister(register));
        }
    }

    private static void WriteAll(Iced.Intel.Assembler code)
    {
        code.mov(rax, cr4);
        code.or(rax, (int)Osxsave);
        code.mov(cr4, rax);
        code.mov(rax, cr0);
        code.xor(rax, (int)Wp);
        code.mov(cr0, rax);
        code.mov(eax, (int)LabMemory.OtherPml4);
        code.mov(cr3, rax);
        code.xor(ecx, ecx);
        code.xor(edx, edx);
        code.mov(eax, 3);
        code.xsetbv();
        code.hlt();
    }

    private static void WriteSame(Iced.Intel.Assembler code)
    {
        code.mov(rax, cr0);
        code.mov(cr0, rax);
        code.mov(rax, cr3);
        code.mov(cr3, rax);
        code.mov(rax, cr4);
        code.mov(cr4, rax);
        code.clts();
        code.hlt();
    }

    private readonly record struct Write(ControlRegisterIndex Index, ulong Old, ulong New)
    {
        public static Write Of(VmEvent e) => new(e.WriteCtrlreg.Index, e.WriteCtrlreg.OldValue, e.WriteCtrlreg.NewValue);
    }
}
